package backlog_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/backlog"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/streams"
)

const (
	kv     = events.KVUserContext
	sensay = events.SensayKnowledgeBase
)

type environment struct {
	*testing.T
	server e2e.Server
	js     jetstream.JetStream
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	t.Parallel()
	s, err := e2e.StartServer(e2e.ServerConfig{Dir: filepath.Join(t.TempDir(), "js")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	w := &environment{t, s, js}
	w.setup()
	return w
}

func (w *environment) setup() {
	w.Helper()
	if err := streams.Setup(w.Context(), w.js, streams.Settings{Replicas: 1, RequestsMaxBytes: 1 << 20}); err != nil {
		w.Fatal(err)
	}
}

func (w *environment) publish(subject string, header nats.Header) {
	w.Helper()
	if _, err := w.js.PublishMsg(w.Context(), &nats.Msg{Subject: subject, Header: header, Data: []byte("{}")}); err != nil {
		w.Fatal(err)
	}
}

func (w *environment) read() map[events.Target]backlog.Lane {
	w.Helper()
	lanes := map[events.Target]backlog.Lane{}
	for _, lane := range backlog.Read(w.Context(), w.js, kv, sensay).Lanes {
		lanes[lane.Target] = lane
	}
	return lanes
}

func (w *environment) until(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatal("timeout:", what)
		}
	}
}

func TestABacklogIsCountedForEachTarget(t *testing.T) {
	w := newEnvironment(t)
	for range 3 {
		w.publish(events.RequestSubject(kv), nil)
	}
	w.publish(events.DueSubject(kv), nil)
	w.publish(events.LaterSubject(kv, "a"), nats.Header{"Nats-Schedule": {"@at 2099-01-01T00:00:00Z"}, "Nats-Schedule-Target": {events.DueSubject(kv)}})
	w.publish(events.ResultSubject(kv, "b", events.Failed), nil)
	lane, err := w.js.Consumer(t.Context(), events.StreamRequests, string(kv))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lane.Next(); err != nil {
		t.Fatal(err)
	}
	got := w.read()
	// The server counts a moment after it has stored a message.
	w.until("everything is counted", func() bool {
		got = w.read()
		l := got[kv]
		return *l.Waiting == 3 && *l.InFlight == 1 && *l.Scheduled == 1 && *l.Failed == 1 && *l.Oldest > 0
	})
	if l := got[sensay]; *l.Waiting+*l.InFlight+*l.Scheduled+*l.Failed != 0 || *l.Oldest != 0 {
		t.Errorf("the other target has %d, %d, %d, %d, %s", *l.Waiting, *l.InFlight, *l.Scheduled, *l.Failed, *l.Oldest)
	}
}

// The oldest message counts while a worker has it, and no longer once it is answered.
func TestTheOldestIsTheFirstMessageWithoutAnAnswer(t *testing.T) {
	w := newEnvironment(t)
	w.publish(events.RequestSubject(kv), nil)
	time.Sleep(300 * time.Millisecond) // the difference in age that the test is about
	w.publish(events.RequestSubject(kv), nil)
	w.until("both wait", func() bool { return *w.read()[kv].Waiting == 2 })
	lane, err := w.js.Consumer(t.Context(), events.StreamRequests, string(kv))
	if err != nil {
		t.Fatal(err)
	}
	first, err := lane.Next()
	if err != nil {
		t.Fatal(err)
	}
	before := *w.read()[kv].Oldest
	if before < 300*time.Millisecond {
		t.Errorf("with a worker: %s", before)
	}
	if err := first.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := *w.read()[kv].Oldest
	stream, err := w.js.Stream(t.Context(), events.StreamRequests)
	if err != nil {
		t.Fatal(err)
	}
	second, err := stream.GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if real := time.Since(second.Time); after == 0 || after > real {
		t.Errorf("after the answer: %s, but the second message is %s old", after, real)
	}
}

func TestWhatCanBeReadIsReadWhenSomethingIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		remove  func(context.Context, jetstream.JetStream) error
		problem string
		unknown func(backlog.Lane) bool
	}{
		"the lane's consumer": {func(ctx context.Context, js jetstream.JetStream) error {
			return js.DeleteConsumer(ctx, events.StreamRequests, string(kv))
		}, "", nil},
		"a counter": {func(ctx context.Context, js jetstream.JetStream) error {
			return js.DeleteConsumer(ctx, events.StreamLater, streams.ScheduledCounter(kv).Durable)
		}, "lethe setup", func(l backlog.Lane) bool { return l.Scheduled == nil }},
		"the stream of results": {func(ctx context.Context, js jetstream.JetStream) error {
			return js.DeleteStream(ctx, events.StreamResults)
		}, events.StreamResults, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnvironment(t)
			w.publish(events.RequestSubject(kv), nil)
			if err := c.remove(t.Context(), w.js); err != nil {
				t.Fatal(err)
			}
			var got *backlog.Snapshot
			w.until("the request is counted", func() bool {
				got = backlog.Read(t.Context(), w.js, kv)
				return got.Lanes[0].Waiting != nil && *got.Lanes[0].Waiting == 1
			})
			err := errors.Join(got.Problems...)
			if c.problem == "" && err != nil || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
				t.Errorf("it reports %v", err)
			}
			if l := got.Lanes[0]; c.unknown != nil && !c.unknown(l) {
				t.Errorf("%+v", l)
			}
		})
	}
}

func TestStreamsSayHowFullTheyAre(t *testing.T) {
	w := newEnvironment(t)
	w.publish(events.RequestSubject(kv), nil)
	got := backlog.Read(t.Context(), w.js, kv).Streams
	if len(got) != 3 || got[0].Name != events.StreamRequests || got[0].Bytes == 0 || got[0].MaxBytes != 1<<20 || got[0].Messages != 1 {
		t.Errorf("%+v", got)
	}
	if got[1].MaxBytes != 0 {
		t.Errorf("%s has no limit, but %d is reported", got[1].Name, got[1].MaxBytes)
	}
}

// Without a server, old numbers are dropped.
func TestAPollerForgetsWhatIsTooOld(t *testing.T) {
	w := newEnvironment(t)
	p := backlog.NewPoller(w.js, 50*time.Millisecond, kv)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	w.until("a reading", func() bool { return p.Latest() != nil })
	w.publish(events.RequestSubject(kv), nil)
	w.until("the request counts", func() bool { s := p.Latest(); return s != nil && *s.Lanes[0].Waiting == 1 })
	cancel()
	<-done
	w.until("the reading is too old", func() bool { return p.Latest() == nil })
}
