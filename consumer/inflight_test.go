package consumer

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// delivered returns a message whose ack deadline was extended some time ago. received
// counts the acknowledgements with a prefix that the server got since.
func (env *environment) delivered(before time.Duration) (d *delivery, received func(prefix string) int) {
	env.Helper()
	replies, err := env.nc.SubscribeSync(env.nc.NewInbox())
	if err != nil {
		env.Fatal(err)
	}
	then := time.Now().Add(-before)
	d = &delivery{Msg: &nats.Msg{Subject: events.RequestSubject(kvTarget), Reply: replies.Subject, Sub: replies}, storedAt: time.Now(), receivedAt: time.Now(), numDelivered: 1}
	d.extendedAt.Store(&then)
	return d, func(prefix string) (n int) {
		env.Helper()
		if err := env.nc.Flush(); err != nil {
			env.Fatal(err)
		}
		for pending, _, _ := replies.Pending(); pending > 0; pending-- {
			msg, err := replies.NextMsg(patience)
			if err != nil {
				env.Fatal(err)
			}
			if strings.HasPrefix(string(msg.Data), prefix) {
				n++
			}
		}
		return n
	}
}

func TestAnAckDeadlineIsExtendedUntilTheServerMayRedeliver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		since time.Duration // the last extension
		sent  int
		ours  bool
	}{
		{"at once", 0, 1, true},
		{"after an extension that was lost", streams.AckWait * 2 / 3, 1, true},
		{"after the process was stopped", streams.AckWait, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, received := newEnvironment(t).delivered(c.since)
			if err := d.extend(newClock(), streams.AckWait); err != nil {
				t.Fatal(err)
			}
			if ours, sent := time.Now().Before(d.ackDeadline(streams.AckWait)), received("+WPI"); sent != c.sent || ours != c.ours {
				t.Errorf("%d extensions, within the ack deadline: %v; want %d, %v", sent, ours, c.sent, c.ours)
			}
		})
	}
}

// After a worker was stopped, other workers may have its messages in flight.
func TestAMessagePastItsAckDeadlineIsNeitherCalledForNorSettled(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		name  string
		since time.Duration
		calls int
	}{{"within its ack deadline", 0, 1}, {"past its ack deadline", streams.AckWait, 0}} {
		t.Run(r.name, func(t *testing.T) {
			env := newEnvironment(t)
			calls := answering(answerLost)
			l := New(env.js, env.config(kvTarget, calls))
			d, received := env.delivered(r.since)
			d.request = contexts(1)
			d.seq = 1
			env.step(l, d)
			if calls.count() != r.calls {
				t.Errorf("%d calls, want %d", calls.count(), r.calls)
			}
			if n := received(""); n != r.calls {
				t.Errorf("the server received %d acknowledgements, want %d", n, r.calls)
			}
		})
	}
}
