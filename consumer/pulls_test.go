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

// connOnly is a JetStream client of which only the connection works.
type connOnly struct {
	jetstream.JetStream
	conn *nats.Conn
}

func (p connOnly) Conn() *nats.Conn { return p.conn }

// captured returns a log and a function that returns its lines so far.
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
	env := newEnvironment(t)
	conn, _ := env.connect()
	synctest.Test(t, func(t *testing.T) {
		p := newPulls(connOnly{conn: conn})
		refused := errors.New("the server says 409 Exceeded MaxWaiting")
		p.report(events.StreamRequests, refused)
		p.report(events.StreamLater, nil)
		if failures := p.failures(); failures != nil {
			t.Errorf("at once: %+v", failures)
		}
		time.Sleep(pullsFailFor)
		for range 10 {
			p.report(events.StreamRequests, refused)
		}
		if f := p.failures(); len(f) != 1 || !strings.Contains(f[0].Reason, refused.Error()) || !strings.Contains(f[0].Reason, events.StreamRequests) || time.Since(f[0].Since) != pullsFailFor || f[0].Fix == "" {
			t.Errorf("after %s: %+v", pullsFailFor, f)
		}
		p.report(events.StreamRequests, nil)
		if failures := p.failures(); failures != nil {
			t.Errorf("after a pull that worked: %+v", failures)
		}
	})
}

// The connection's own handlers log that it is lost.
func TestALaneLogsOnlyItsStateWhileNATSIsDown(t *testing.T) {
	env := newEnvironment(t)
	log, lines := captured()
	c := env.config(sensayTarget, answering(answerDeleted))
	c.Log = log
	lane, stop := env.run(c)
	r := entry(1)
	env.publish(r)
	env.final(sensayTarget, r.ID)
	before := len(lines())
	env.server.Shutdown()
	env.server.WaitForShutdown()
	env.until("the lane does not run", func() bool {
		s := lane.State()
		return s.Status != StatusRunning && strings.Contains(s.Reason, ledger.NotConnected)
	})
	for _, line := range lines()[before:] {
		state := strings.Contains(line, `msg="lane is blocked"`) // it may be logged before the test looks
		if strings.Contains(line, "buffer") || strings.Contains(line, "cannot fetch messages") && !state {
			t.Errorf("it logged %q", line)
		}
	}
	stop()
}

// Here the server refuses a second pull because another client already waits.
func TestALaneIsNotRunningWhileItsPullsAreRefused(t *testing.T) {
	env := newEnvironment(t)
	if err := env.js.DeleteConsumer(t.Context(), events.StreamRequests, string(kvTarget)); err != nil {
		t.Fatal(err)
	}
	config := streams.LaneConsumer(events.StreamRequests, kvTarget)
	config.MaxWaiting = 1
	if _, err := env.js.CreateConsumer(t.Context(), events.StreamRequests, config); err != nil {
		t.Fatal(err)
	}
	foreign, err := env.nc.SubscribeSync(env.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	request := []byte(`{"batch":1,"expires":3600000000000}`)
	if err := env.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+events.StreamRequests+"."+string(kvTarget), foreign.Subject, request); err != nil {
		t.Fatal(err)
	}
	env.until("the other client's pull waits", func() bool { return env.requestsConsumer().NumWaiting == 1 })
	lane, _ := env.run(env.config(kvTarget, answering(answerDeleted)))
	env.until("the lane reports it", func() bool {
		return lane.State().Status == StatusBlocked && strings.Contains(lane.State().Reason, "cannot fetch messages")
	})
	if err := foreign.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	env.until("the lane runs again", func() bool { return lane.State().Status == StatusRunning })
}
