package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// A server that is killed can come back with messages that it had removed, or
// with a stream that ends before what its consumers had acknowledged and that
// gives their sequences anew. A consumer never looks behind its acknowledgement
// floor, so such messages would stay for ever: most of them answered long ago,
// some perhaps not. The chain tells them apart, once they are delivered.

// passedOverFor is how long a message must stand behind the floor. An
// acknowledged one is removed a moment later.
const passedOverFor = time.Second

// PassedOver returns the consumers of the given targets, with their streams, that
// will never deliver some message that is still there.
func PassedOver(ctx context.Context, js jetstream.JetStream, targets ...events.Target) ([]*Problem, error) {
	var all []*Problem
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		for _, target := range targets {
			seq, err := passedOver(ctx, js, stream, target)
			if err != nil {
				return nil, err
			}
			if seq == 0 {
				continue
			}
			wait(ctx, passedOverFor)
			again, err := passedOver(ctx, js, stream, target)
			if err != nil {
				return nil, err
			}
			if again == seq {
				all = append(all, &Problem{
					Stream: stream, Consumer: string(target), Setting: fmt.Sprintf("message %d passed over", seq),
					Why: "the server brought back messages that it will not deliver; `lethe setup` has them delivered again",
				})
			}
		}
	}
	return all, nil
}

// passedOver returns the first message behind a consumer's floor, 0 for none.
func passedOver(ctx context.Context, js jetstream.JetStream, stream string, target events.Target) (uint64, error) {
	consumer, err := js.Consumer(ctx, stream, string(target))
	if err != nil {
		return 0, fmt.Errorf("consumer %s of %s: %w", target, stream, err)
	}
	info := consumer.CachedInfo()
	first, err := firstMessage(ctx, js, stream, info.Config.FilterSubject)
	if err != nil || first == nil || first.Seq > info.AckFloor.Stream {
		return 0, err
	}
	return first.Seq, nil
}

// remakeFor is how long a consumer is tried to be made anew, once it may be
// deleted: long enough for servers to choose a leader. Each try is bounded by
// storeTimeout, for a request that comes meanwhile may be lost.
const remakeFor = 30 * time.Second

// Redeliver makes the consumers that [PassedOver] returned anew, as they were
// configured, so that they deliver all that is there. What workers have in hand
// comes again too, and finds its chain.
func Redeliver(ctx context.Context, js jetstream.JetStream, passed []*Problem) error {
	for _, p := range passed {
		if err := remake(ctx, js, p.Stream, p.Consumer); err != nil {
			return fmt.Errorf("consumer %s of %s: %w", p.Consumer, p.Stream, err)
		}
	}
	return nil
}

// remake deletes a consumer and creates it as it was. Its settings are nowhere
// else meanwhile, so it tries for a while, even if ctx ends.
func remake(ctx context.Context, js jetstream.JetStream, stream, name string) error {
	consumer, err := js.Consumer(ctx, stream, name)
	if err != nil {
		return err
	}
	config := consumer.CachedInfo().Config
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(remakeFor))
	ctx = context.WithoutCancel(ctx)
	return backoff.Retry(func() error {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		if err := js.DeleteConsumer(ctx, stream, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
		_, err := js.CreateOrUpdateConsumer(ctx, stream, config)
		return err
	}, policy)
}
