package control

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	kvTarget     = events.KVUserContext
	sensayTarget = events.SensayKnowledgeBase
)

// newServer runs a NATS server with the streams until the test ends.
func newServer(t *testing.T) jetstream.JetStream {
	t.Helper()
	_, js := e2e.Serve(t, e2e.ServerConfig{Dir: filepath.Join(t.TempDir(), "js")})
	if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	return js
}

func lane(t *testing.T, js jetstream.JetStream) Lane {
	t.Helper()
	l, err := ReadLane(t.Context(), js, kvTarget)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestPausingAndResuming(t *testing.T) {
	js := newServer(t)
	if l := lane(t, js); l.State != Running || l.Sequence == 0 {
		t.Fatalf("after setup the key is %+v", l)
	}
	until := time.Now().Add(time.Hour)
	before, after, err := Pause(t.Context(), js, kvTarget, "vendor asked", "anna", until)
	if err != nil || before.State != Running {
		t.Fatalf("%+v, %v", before, err)
	}
	if l := lane(t, js); l != after || l.State != Paused || l.Reason != "vendor asked" || l.By != "anna" || !l.Until.Equal(until) {
		t.Errorf("the key is %+v, want %+v", l, after)
	}
	// The second operator sees the first.
	before, second, err := Pause(t.Context(), js, kvTarget, "still", "ben", time.Time{})
	if err != nil || before != after || second.Reason != "still" || !second.Until.IsZero() {
		t.Errorf("%+v, %+v, %v", before, second, err)
	}
	if before, after, err = Resume(t.Context(), js, kvTarget, "anna"); err != nil || before != second || after.State != Running {
		t.Errorf("%+v, %+v, %v", before, after, err)
	}
	if before, again, err := Resume(t.Context(), js, kvTarget, "anna"); err != nil || before != after || again != after {
		t.Errorf("resumed twice: %+v, %+v, %v", before, again, err)
	}
	lanes, err := Lanes(t.Context(), js)
	if err != nil || len(lanes) != 2 || lanes[0].State != Running || lanes[1].Target != sensayTarget || lanes[1].State != Running {
		t.Errorf("%+v, %v", lanes, err)
	}
}

func TestAWriteUnderAnOldKeyIsRefused(t *testing.T) {
	js := newServer(t)
	old := lane(t, js)
	if _, _, err := Pause(t.Context(), js, kvTarget, "first", "anna", time.Time{}); err != nil {
		t.Fatal(err)
	}
	now, err := write(t.Context(), js, old, key{State: Running, By: "ben"})
	if !errors.Is(err, ErrChanged) || now.By != "anna" {
		t.Errorf("%+v, %v", now, err)
	}
	if l := lane(t, js); l.State != Paused || l.By != "anna" {
		t.Errorf("the key is %+v", l)
	}
}

// An acknowledgement that was lost is no change by another person.
func TestAWriteThatIsThereAlreadySucceeds(t *testing.T) {
	js := newServer(t)
	old := lane(t, js)
	want := key{State: Paused, Reason: "r", By: "anna", Since: now()}
	first, err := write(t.Context(), js, old, want)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := write(t.Context(), js, old, want); err != nil || second != first {
		t.Errorf("%+v, %v; want %+v", second, err, first)
	}
}

func TestAPauseWithAnEndIsOverAfterIt(t *testing.T) {
	js := newServer(t)
	ended := time.Now().Add(-time.Minute)
	if _, _, err := Pause(t.Context(), js, kvTarget, "r", "anna", ended); err != nil {
		t.Fatal(err)
	}
	lanes, err := Lanes(t.Context(), js)
	if err != nil || lanes[0].State != Running {
		t.Errorf("%+v, %v", lanes, err)
	}
	before, after, err := Resume(t.Context(), js, kvTarget, "ben")
	if err != nil || after.State != Running || after.Sequence != before.Sequence {
		t.Errorf("resumed: %+v, %v", after, err)
	}
}

func TestAKeyThatCannotBeReadIsAState(t *testing.T) {
	publish := func(t *testing.T, js jetstream.JetStream, msg *nats.Msg) {
		t.Helper()
		msg.Subject = streams.LaneKey(kvTarget)
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(*testing.T, jetstream.JetStream){
		"deleted": func(t *testing.T, js jetstream.JetStream) {
			publish(t, js, &nats.Msg{Header: nats.Header{"KV-Operation": {"DEL"}}})
		},
		"not JSON": func(t *testing.T, js jetstream.JetStream) { publish(t, js, &nats.Msg{Data: []byte("paused")}) },
		"another state": func(t *testing.T, js jetstream.JetStream) {
			publish(t, js, &nats.Msg{Data: []byte(`{"state":"stopped"}`)})
		},
		"purged": func(t *testing.T, js jetstream.JetStream) {
			stream, err := js.Stream(t.Context(), streams.Control)
			if err != nil {
				t.Fatal(err)
			}
			config := stream.CachedInfo().Config
			if err := js.DeleteStream(t.Context(), streams.Control); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), streams.LaneKey(sensayTarget), []byte(`{"state":"running"}`)); err != nil {
				t.Fatal(err)
			}
		},
		"without the bucket": func(t *testing.T, js jetstream.JetStream) {
			if err := js.DeleteStream(t.Context(), streams.Control); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			js := newServer(t)
			damage(t, js)
			l := lane(t, js)
			if l.State != Unreadable || l.Fix() != "lethe setup" || !strings.Contains(l.Text(), "lethe setup") {
				t.Errorf("the key is %+v", l)
			}
			if _, _, err := Resume(t.Context(), js, kvTarget, "anna"); err == nil {
				t.Error("it can be resumed")
			}
			var created []streams.Created
			if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1, Created: func(c streams.Created) { created = append(created, c) }}); err != nil {
				t.Fatal(err)
			}
			if l := lane(t, js); l.State != Running || len(created) == 0 || created[0].Lost == "" {
				t.Errorf("after setup the key is %+v; created %+v", l, created)
			}
		})
	}
}

func TestALeaseOnAServer(t *testing.T) {
	js := newServer(t)
	config := Config{Target: kvTarget, Instance: "w1", Version: "1.2.3", CallTimeout: time.Second, Log: slog.New(slog.DiscardHandler)}
	l := NewLease(js, config)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx, ctx, func() string { return "failing" })
	}()
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	workers, err := Workers(t.Context(), js)
	if err != nil || len(workers) != 1 {
		t.Fatalf("%+v, %v", workers, err)
	}
	if w := workers[0]; w.Instance != "w1" || w.Target != kvTarget || w.Version != "1.2.3" || w.State != "failing" || !w.Alive || w.Seen.IsZero() {
		t.Errorf("the worker is %+v", w)
	}
	subject := streams.WorkerKey("w1", string(kvTarget))
	if last, err := streams.LastMessage(t.Context(), js, streams.Control, subject); err != nil || last.Header.Get("Nats-TTL") != "10m1s" {
		t.Errorf("the heartbeat is kept for %+v, %v", last, err)
	}
	_, paused, err := Pause(t.Context(), js, kvTarget, "r", "anna", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if calling, err := InFlight(t.Context(), js, paused); err != nil || len(calling) != 1 {
		t.Errorf("before it has seen the pause: %+v, %v", calling, err)
	}
	<-l.Open().Done()
	deadline := time.Now().Add(10 * time.Second)
	for {
		calling, err := InFlight(t.Context(), js, paused)
		if err == nil && len(calling) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it has seen the pause: %+v, %v", calling, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-done
	if workers, err := Workers(t.Context(), js); err != nil || len(workers) != 0 {
		t.Errorf("after it has ended: %+v, %v", workers, err)
	}
}

// The bucket lets heartbeats expire, and they may not touch the keys of the lanes.
func TestHeartbeatsExpire(t *testing.T) {
	js := newServer(t)
	subject := streams.WorkerKey("w1", string(kvTarget))
	if _, err := js.Publish(t.Context(), subject, []byte("{}"), jetstream.WithMsgTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: nats.Header{"Nats-Rollup": {"all"}}}); err == nil {
		t.Error("a heartbeat can roll up the bucket")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		last, err := streams.LastMessage(t.Context(), js, streams.Control, subject)
		if err == nil && last == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is still there: %+v, %v", last, err)
		}
	}
	if l := lane(t, js); l.State != Running {
		t.Errorf("the key is %+v", l)
	}
}

func TestWhichWorkersMayBeCalling(t *testing.T) {
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	seen := func(ago time.Duration, w Worker) Worker {
		w.asked, w.Seen, w.callTime = noon, noon.Add(-ago), time.Minute
		return w
	}
	for name, c := range map[string]struct {
		worker Worker
		want   bool
	}{
		"it has seen the pause, and no call is in flight":        {seen(0, Worker{key: 7}), false},
		"it has seen the pause, and a call is in flight":         {seen(0, Worker{key: 7, Calls: 1}), true},
		"it has seen the pause, and died in a call long ago":     {seen(2*time.Minute, Worker{key: 7, Calls: 1}), false},
		"it has not seen the pause":                              {seen(16*time.Second, Worker{key: 6, mayCall: true}), true},
		"it was killed so long ago that its calls have ended":    {seen(76*time.Second, Worker{key: 6, mayCall: true}), false},
		"it was killed, and the last call may have begun later":  {seen(74*time.Second, Worker{key: 6, mayCall: true}), true},
		"it knew an earlier pause, and may have seen its end":    {seen(16*time.Second, Worker{key: 5}), true},
		"it was resumed after the pause, so that it may call":    {seen(0, Worker{key: 8, mayCall: true}), true},
		"it has seen a later pause, and no call is in flight":    {seen(0, Worker{key: 9}), false},
		"it has seen the pause, was cut off, and nothing called": {seen(time.Hour, Worker{key: 7}), false},
	} {
		if got := c.worker.mayBeCalling(7); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
