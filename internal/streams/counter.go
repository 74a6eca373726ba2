package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// A counter is a durable consumer that is never pulled. The server maintains the number
// of messages that match its filter (num_pending), so that one CONSUMER.INFO counts any
// number of them. Listing their subjects would hold the stream's lock for a time that
// grows with their number.

// ScheduledCounter counts a target's scheduled requests on DELETION_LATER. Do not pull
// it: a message that is acknowledged on a work queue is removed.
func ScheduledCounter(target events.Target) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       string(target) + "-scheduled",
		Description:   "Counts the scheduled requests. Never pull it: an acknowledged schedule is lost.",
		FilterSubject: events.LaterSubject(target, "*"),
		AckPolicy:     jetstream.AckExplicitPolicy, // a work queue allows no other
		MaxDeliver:    -1,
	}
}

// FailedCounter counts a target's failed results that DELETION_RESULTS keeps.
func FailedCounter(target events.Target) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       string(target) + "-failed",
		Description:   "Counts the failed results.",
		FilterSubject: events.ResultFilter(target, "", events.Failed),
		AckPolicy:     jetstream.AckNonePolicy,
	}
}

// setupCounters creates the counters of all targets. It recreates one that could
// miscount: there is nothing in it to lose.
func setupCounters(ctx context.Context, js jetstream.JetStream) error {
	for _, target := range events.Targets() {
		if err := setupCounter(ctx, js, events.StreamLater, ScheduledCounter(target)); err != nil {
			return err
		}
		if err := setupCounter(ctx, js, events.StreamResults, FailedCounter(target)); err != nil {
			return err
		}
	}
	return nil
}

func setupCounter(ctx context.Context, js jetstream.JetStream, stream string, want jetstream.ConsumerConfig) error {
	info, err := consumerInfo(ctx, js, stream, want.Durable)
	if err != nil {
		return err
	}
	if info != nil {
		if checkCounter(stream, want, info) == nil {
			return nil
		}
		if err := js.DeleteConsumer(ctx, stream, want.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("consumer %s of %s: %w", want.Durable, stream, err)
		}
	}
	if _, err := js.CreateOrUpdateConsumer(ctx, stream, want); err != nil {
		return fmt.Errorf("consumer %s of %s: %w", want.Durable, stream, err)
	}
	return nil
}

// Count returns how many messages a counter counts. It returns a [*Problem] if the
// counter is missing or could miscount.
func Count(ctx context.Context, js jetstream.JetStream, stream string, counter jetstream.ConsumerConfig) (uint64, error) {
	info, err := consumerInfo(ctx, js, stream, counter.Durable)
	if err != nil {
		return 0, err
	}
	if err := checkCounter(stream, counter, info); err != nil {
		return 0, err
	}
	return info.NumPending, nil
}

// checkCounter refuses a counter that counts something else, or that is pulled. info is
// nil if it does not exist.
func checkCounter(stream string, want jetstream.ConsumerConfig, info *jetstream.ConsumerInfo) error {
	problem := func(setting, why string) error {
		return &Problem{Stream: stream, Consumer: want.Durable, Setting: setting, Why: why + "; `lethe setup` recreates it"}
	}
	switch {
	case info == nil:
		return &Problem{Stream: stream, Consumer: want.Durable, Setting: "missing", Why: "its messages are not counted; `lethe setup` creates it"}
	case info.Delivered.Consumer > 0 || info.NumWaiting > 0 || info.Config.DeliverSubject != "":
		return problem("pulled", "it only counts, and a scheduled request that is acknowledged here is lost")
	case info.Config.FilterSubject != want.FilterSubject || len(info.Config.FilterSubjects) > 0:
		return problem("filter_subject", "it would count other messages (it must be "+want.FilterSubject+")")
	case info.Config.DeliverPolicy != jetstream.DeliverAllPolicy:
		return problem("deliver_policy "+info.Config.DeliverPolicy.String(), "it would not count older messages (it must be all)")
	case info.Config.InactiveThreshold > 0:
		return problem("inactive_threshold "+info.Config.InactiveThreshold.String(), "the server would delete it, because nothing pulls it (it must be 0)")
	}
	return nil
}
