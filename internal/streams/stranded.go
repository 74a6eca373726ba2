package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// A server that is killed can come back with messages that it had removed, or with
// a stream that ends before what its consumers had acknowledged, and that assigns
// those sequences again. A consumer never delivers a message below its ack floor, so
// such messages are stranded. Most of their requests have a result, some may not. The
// request's records distinguish them once they are delivered.

// strandedFor is how long a message must stay below the floor. An acknowledged one
// is removed a moment later.
const strandedFor = time.Second

// Stranded returns a Problem for each consumer of the given targets that has a
// stranded message. It takes up to a second for each.
func Stranded(ctx context.Context, js jetstream.JetStream, targets ...events.Target) ([]*Problem, error) {
	var all []*Problem
	for _, name := range consumerNames(targets...) {
		seq, err := belowFloor(ctx, js, name)
		if err != nil {
			return nil, err
		}
		if seq == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(strandedFor):
		}
		again, err := belowFloor(ctx, js, name)
		if err != nil {
			return nil, err
		}
		if again == seq {
			all = append(all, &Problem{
				Stream: name.stream, Consumer: string(name.target), Setting: fmt.Sprintf("message %d is stranded", seq),
				Why: "messages below the consumer's ack floor reappeared after a server crash and will not be delivered; run `lethe setup` to redeliver them",
			})
		}
	}
	return all, nil
}

// belowFloor returns the first message below a consumer's ack floor, 0 if there is
// none.
func belowFloor(ctx context.Context, js jetstream.JetStream, name consumerName) (uint64, error) {
	consumer, err := js.Consumer(ctx, name.stream, string(name.target))
	if err != nil {
		return 0, fmt.Errorf("consumer %s of %s: %w", name.target, name.stream, err)
	}
	info := consumer.CachedInfo()
	first, err := firstMessage(ctx, js, name.stream, info.Config.FilterSubject)
	if err != nil || first == nil || first.Seq > info.AckFloor.Stream {
		return 0, err
	}
	return first.Seq, nil
}

const (
	// recreateWithin limits the time to recreate a consumer. It is long enough for an
	// election of a leader.
	recreateWithin = 30 * time.Second
	// recreateTimeout bounds each try: a request sent during an election may be lost.
	recreateTimeout = 5 * time.Second
)

// Redeliver recreates the consumers that [Stranded] returned with the same settings,
// so that they deliver all messages of their stream. Messages in flight are redelivered
// too; their requests find their records.
func Redeliver(ctx context.Context, js jetstream.JetStream, stranded []*Problem) error {
	for _, p := range stranded {
		if err := recreate(ctx, js, p.Stream, p.Consumer); err != nil {
			return fmt.Errorf("consumer %s of %s: %w", p.Consumer, p.Stream, err)
		}
	}
	return nil
}

// recreate deletes a consumer and creates it with the same settings. In between, no
// server stores these settings, so it repeats failed tries even if ctx ends.
func recreate(ctx context.Context, js jetstream.JetStream, stream, name string) error {
	consumer, err := js.Consumer(ctx, stream, name)
	if err != nil {
		return err
	}
	config := consumer.CachedInfo().Config
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(recreateWithin))
	ctx = context.WithoutCancel(ctx)
	return backoff.Retry(func() error {
		ctx, cancel := context.WithTimeout(ctx, recreateTimeout)
		defer cancel()
		if err := js.DeleteConsumer(ctx, stream, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
		_, err := js.CreateOrUpdateConsumer(ctx, stream, config)
		return err
	}, policy)
}
