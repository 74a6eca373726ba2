package consumer

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

// playedServer is a connection without what a server answers.
type playedServer struct {
	jetstream.JetStream
	conn *nats.Conn
}

func (p playedServer) Conn() *nats.Conn { return p.conn }

// captured returns a log and the lines that it got so far.
func captured() (log *slog.Logger, lines func() []string) {
	var mu sync.Mutex
	var all bytes.Buffer
	log = slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return all.Write(p)
	}), nil))
	return log, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Collect(strings.Lines(all.String()))
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestALaneWhosePullsKeepFailingIsNotRunning(t *testing.T) {
	w := newWorld(t)
	conn, _ := w.connect()
	synctest.Test(t, func(t *testing.T) {
		p := newPulls(playedServer{conn: conn})
		refused := errors.New("the server says 409 Exceeded MaxWaiting")
		p.report(events.StreamRequests, refused)
		p.report(events.StreamLater, nil)
		if failures := p.failures(); failures != nil {
			t.Errorf("after a moment: %+v", failures)
		}
		time.Sleep(pullsFailFor)
		for range 10 {
			p.report(events.StreamRequests, refused)
		}
		if f := p.failures(); len(f) != 1 || !strings.Contains(f[0].Reason, refused.Error()) || !strings.Contains(f[0].Reason, events.StreamRequests) || time.Since(f[0].Since) != pullsFailFor || f[0].Fix == "" {
			t.Errorf("after a while: %+v", f)
		}
		p.report(events.StreamRequests, nil)
		if failures := p.failures(); failures != nil {
			t.Errorf("after the end: %+v", failures)
		}
	})
}

// The connection's own handlers log that it is lost.
func TestALaneLogsNothingWhileNATSIsDown(t *testing.T) {
	w := newWorld(t)
	log, lines := captured()
	c := w.config(sensayTarget, script(answerDeleted))
	c.Log = log
	lane, stop := w.run(c)
	r := entry(1)
	w.publish(r)
	w.final(sensayTarget, r.ID)
	before := len(lines())
	w.server.Shutdown()
	w.server.WaitForShutdown()
	w.until("the lane does not run", func() bool {
		s := lane.State()
		return s.Status != StatusRunning && strings.Contains(s.Reason, ledger.NotConnected)
	})
	for _, line := range lines()[before:] {
		if strings.Contains(line, "buffer") || strings.Contains(line, "cannot fetch messages") {
			t.Errorf("it logged %q", line)
		}
	}
	stop()
}

// For any reason: here another client's pull is the only one that is allowed.
func TestALaneIsNotRunningWhileItsPullsAreRefused(t *testing.T) {
	w := newWorld(t)
	if err := w.js.DeleteConsumer(t.Context(), events.StreamRequests, string(kvTarget)); err != nil {
		t.Fatal(err)
	}
	config := streams.LaneConsumer(events.StreamRequests, kvTarget)
	config.MaxWaiting = 1
	if _, err := w.js.CreateConsumer(t.Context(), events.StreamRequests, config); err != nil {
		t.Fatal(err)
	}
	foreign, err := w.nc.SubscribeSync(w.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	request := []byte(`{"batch":1,"expires":3600000000000}`)
	if err := w.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+events.StreamRequests+"."+string(kvTarget), foreign.Subject, request); err != nil {
		t.Fatal(err)
	}
	w.until("the other's pull waits", func() bool { return w.requestsConsumer().NumWaiting == 1 })
	lane, _ := w.run(w.config(kvTarget, script(answerDeleted)))
	w.until("the lane says so", func() bool {
		return lane.State().Status == StatusBlocked && strings.Contains(lane.State().Reason, "cannot fetch messages")
	})
	if err := foreign.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	w.until("the lane runs again", func() bool { return lane.State().Status == StatusRunning })
}
