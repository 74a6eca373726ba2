package consumer

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// signs counts what a lane tells the server about one message.
type signs struct {
	jetstream.Msg
	alive, naks int
}

func (s *signs) Subject() string                  { return "deletions.requests.kv-user-context" }
func (s *signs) Headers() nats.Header             { return nil }
func (s *signs) Data() []byte                     { return nil }
func (s *signs) InProgress() error                { s.alive++; return nil }
func (s *signs) Nak() error                       { s.naks++; return nil }
func (s *signs) NakWithDelay(time.Duration) error { s.naks++; return nil }

func deliveredBefore(msg jetstream.Msg, d time.Duration) *delivery {
	then := time.Now().Add(-d)
	delivered := &delivery{Msg: msg}
	delivered.kept.Store(&then)
	return delivered
}

func TestADeliveryIsKeptAliveUntilItMayBeAnothers(t *testing.T) {
	for _, c := range []struct {
		name  string
		since time.Duration // the last sign of life
		alive int
		ours  bool
	}{
		{"at once", 0, 1, true},
		{"after a sign that was lost", ackWait * 2 / 3, 1, true},
		{"after a process that stood still", ackWait, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg := &signs{}
			d := deliveredBefore(msg, c.since)
			if err := d.keep(ackWait); err != nil {
				t.Fatal(err)
			}
			if ours := time.Now().Before(d.oursUntil(ackWait)); msg.alive != c.alive || ours != c.ours {
				t.Errorf("%d signs of life, ours %v; want %d, %v", msg.alive, ours, c.alive, c.ours)
			}
		})
	}
}

// A worker that stood still finds its messages in the hands of others.
func TestAMessageThatMayBeAnothersIsNeitherCalledForNorTakenAway(t *testing.T) {
	for _, r := range []struct {
		name  string
		since time.Duration
		calls int
	}{{"in hand", 0, 1}, {"perhaps another's", ackWait, 0}} {
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t)
			calls := script(answerLost)
			l := New(w.js, w.config(kvTarget, calls))
			l.ackWait = ackWait
			msg := &signs{}
			d := deliveredBefore(msg, r.since)
			d.request = contexts(1)
			d.seq = 1
			_, err := l.process(t.Context(), t.Context(), d)
			if calls.count() != r.calls {
				t.Errorf("%d calls, want %d (%v)", calls.count(), r.calls, err)
			}
			l.settle(t.Context(), d, giveBack)
			if msg.naks != r.calls {
				t.Errorf("given back %d times, want %d", msg.naks, r.calls)
			}
		})
	}
}
