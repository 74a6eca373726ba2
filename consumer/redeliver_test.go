package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// strand leaves a message of the lane below the ack floor of its consumer, as a killed
// server can: the consumer acknowledges a later message of another subject.
func (env *environment) strand(r events.Request) {
	env.Helper()
	other := sensayTarget
	for _, target := range []events.Target{kvTarget, other} {
		if err := env.js.DeleteConsumer(env.Context(), events.StreamRequests, string(target)); err != nil {
			env.Fatal(err)
		}
	}
	config := streams.LaneConsumer(events.StreamRequests, kvTarget)
	config.FilterSubject = events.RequestSubject(other)
	consumer, err := env.js.CreateConsumer(env.Context(), events.StreamRequests, config)
	if err != nil {
		env.Fatal(err)
	}
	env.publish(r, entry(1))
	msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		env.Fatal(err)
	}
	if err := msg.DoubleAck(env.Context()); err != nil {
		env.Fatal(err)
	}
	for _, target := range []events.Target{kvTarget, other} {
		if _, err := env.js.CreateOrUpdateConsumer(env.Context(), events.StreamRequests, streams.LaneConsumer(events.StreamRequests, target)); err != nil {
			env.Fatal(err)
		}
	}
}

func TestStrandedMessagesAreDeliveredAgain(t *testing.T) {
	t.Parallel()
	for name, manages := range map[string]bool{"by the lane": true, "by setup": false} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			r := contexts(1)
			env.strand(r)
			passed, err := streams.Stranded(t.Context(), env.js, events.Targets()...)
			if err != nil || len(passed) != 1 || passed[0].Consumer != string(kvTarget) || passed[0].Stream != events.StreamRequests {
				t.Fatalf("stranded: %v, %v", passed, err)
			}
			c := env.config(kvTarget, answering(answerDeleted))
			c.ManageStreams = manages
			lane, _ := env.run(c)
			if !manages {
				env.until("the lane runs", func() bool { return lane.State().Status == StatusRunning })
				if err := streams.Setup(t.Context(), env.js, settings); err != nil {
					t.Fatal(err)
				}
			}
			env.final(kvTarget, r.ID)
			env.settled()
			if passed, err := streams.Stranded(t.Context(), env.js, events.Targets()...); err != nil || len(passed) != 0 {
				t.Errorf("stranded: %v, %v", passed, err)
			}
		})
	}
}

// failsOnce is a server that fails to create a consumer the first time. The caller's
// context ends then.
type failsOnce struct {
	jetstream.JetStream
	cancel context.CancelFunc
	asked  int
}

func (h *failsOnce) CreateOrUpdateConsumer(ctx context.Context, stream string, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if h.asked++; h.asked == 1 {
		h.cancel()
		return nil, jetstream.ErrNoStreamResponse
	}
	return h.JetStream.CreateOrUpdateConsumer(ctx, stream, c)
}

func TestAConsumerThatIsRecreatedIsNeverLeftMissing(t *testing.T) {
	env := newEnvironment(t)
	env.strand(contexts(1))
	consumer, err := env.js.Consumer(t.Context(), events.StreamRequests, string(kvTarget))
	if err != nil {
		t.Fatal(err)
	}
	config := consumer.CachedInfo().Config
	config.AckWait = 17 * time.Second // as an operator set it
	if _, err := env.js.UpdateConsumer(t.Context(), events.StreamRequests, config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	js := &failsOnce{JetStream: env.js, cancel: cancel}
	passed, err := streams.Stranded(ctx, js, kvTarget)
	if err != nil || len(passed) != 1 {
		t.Fatalf("stranded: %v, %v", passed, err)
	}
	if err := streams.Redeliver(ctx, js, passed); err != nil {
		t.Error(err)
	}
	if consumer, err = env.js.Consumer(t.Context(), events.StreamRequests, string(kvTarget)); err != nil {
		t.Fatal(err)
	}
	if got := consumer.CachedInfo(); js.asked != 2 || got.Config.AckWait != config.AckWait || got.NumPending != 1 {
		t.Errorf("asked %d times; its ack_wait is %s, and it has %d messages to deliver", js.asked, got.Config.AckWait, got.NumPending)
	}
}

func TestWaitingMessagesAreNotStranded(t *testing.T) {
	env := newEnvironment(t)
	env.publish(contexts(1), contexts(2), entry(3))
	consumer, err := env.js.Consumer(t.Context(), events.StreamRequests, string(kvTarget))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first stays in flight, the second is done
		msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if meta.Sequence.Stream == 2 {
			if err := msg.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if passed, err := streams.Stranded(t.Context(), env.js, events.Targets()...); err != nil || len(passed) != 0 {
		t.Errorf("stranded: %v, %v", passed, err)
	}
}
