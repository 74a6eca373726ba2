package consumer

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

// setAckWait changes ack_wait, as an operator may.
func (env *environment) setAckWait(wait time.Duration) {
	env.Helper()
	for stream, targets := range laneConsumers() {
		for _, target := range targets {
			config := streams.LaneConsumer(stream, target)
			config.AckWait = wait
			if _, err := env.js.UpdateConsumer(env.Context(), stream, config); err != nil {
				env.Fatal(err)
			}
		}
	}
}

func (env *environment) requestsConsumer() *jetstream.ConsumerInfo {
	env.Helper()
	consumer, err := env.js.Consumer(env.Context(), events.StreamRequests, string(kvTarget))
	if err != nil {
		env.Fatal(err)
	}
	return consumer.CachedInfo()
}

// The server applies a shorter ack_wait at once to messages in flight, and delivers
// it again before any worker has noticed.
func TestAShorterAckWaitMakesNoSecondCall(t *testing.T) {
	env := newEnvironment(t)
	calling, proceed := make(chan struct{}, 10), make(chan struct{})
	slow := &fakeAPI{answer: func(int, events.Resource) deleter.Answer {
		calling <- struct{}{}
		<-proceed
		return answerDeleted
	}}
	c := env.config(kvTarget, slow)
	c.Timeout = patience
	env.run(c)
	r := contexts(1)
	env.publish(r)
	<-calling
	c.Instance = ledger.NewID()
	second, _ := env.run(c)
	env.until("the second lane has read ack_wait", func() bool { readAt, _ := second.ackWait.state(); return !readAt.IsZero() })
	env.setAckWait(100 * time.Millisecond)
	env.until("the request is returned again and again", func() bool { return env.requestsConsumer().Delivered.Consumer >= 5 })
	close(proceed)
	env.final(kvTarget, r.ID)
	env.settledOn(events.StreamRequests)
	if n := slow.count(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestARedeliveredMessageWaitsOnlyAfterAckWaitBecameShorter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request events.Request
		wait    time.Duration
		again   bool
		calls   int
	}{
		"first delivery":                              {contexts(1), streams.AckWait / 2, false, 1},
		"redelivery, unchanged":                       {contexts(1), streams.AckWait, true, 1},
		"redelivery, longer":                          {contexts(1), streams.AckWait * 2, true, 1},
		"redelivery, shorter":                         {contexts(1), streams.AckWait / 2, true, 0},
		"redelivery, shorter, with recorded attempts": {entry(1), streams.AckWait / 2, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			calls := answering(answerDeleted)
			l := New(env.js, env.config(c.request.Target(), calls))
			if !l.check(t.Context()) {
				t.Fatal(l.State())
			}
			env.setAckWait(c.wait)
			d, received := env.delivered(0)
			d.request, d.seq, d.receivedAt = c.request, 1, time.Now()
			if d.numDelivered = 1; c.again {
				d.numDelivered = 2
			}
			env.step(l, d)
			if calls.count() != c.calls || received("-NAK") != 1-c.calls {
				t.Errorf("%d calls, want %d; without a call the message must be returned", calls.count(), c.calls)
			}
		})
	}
}

func TestAChangedAckWaitIsReadAgain(t *testing.T) {
	env := newEnvironment(t)
	l := New(env.js, env.config(kvTarget, nil))
	for _, wait := range []time.Duration{streams.AckWait, 20 * time.Second, time.Minute} {
		env.setAckWait(wait)
		if well := l.check(t.Context()); !well || l.ackWait.get() != wait {
			t.Errorf("healthy: %v, ack_wait is %s, want %s", well, l.ackWait.get(), wait)
		}
	}
}

// Two extensions fit into the shortest ack_wait, whatever value was read last.
func TestTheAckDeadlineIsExtendedInTimeForTheShortestAckWait(t *testing.T) {
	if extendAfter+extendEvery > streams.MinAckWait/2 {
		t.Errorf("%s may pass between extensions, ack_wait may be %s", extendAfter+extendEvery, streams.MinAckWait)
	}
}
