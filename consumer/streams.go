package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// StreamSettings are what an operator chooses about the streams.
type StreamSettings struct {
	// Replicas, 1 to 5, is how many servers hold each stream. A stream that has
	// more keeps them.
	Replicas int
	// ResultsMaxAge is how long results are kept, and with them the promise of
	// one result a request. A stream that keeps them longer goes on doing so. 0 is
	// forever.
	ResultsMaxAge time.Duration
	// ResultsMinAge is how long a request can be open. An existing stream that
	// keeps results for less is refused; 0 refuses none.
	ResultsMinAge time.Duration
}

// duplicateWindow is how long DELETION_REQUESTS refuses a repeated Nats-Msg-Id.
const duplicateWindow = 10 * time.Minute

// Setup creates the three streams and their consumers, or updates them without
// loss: limits that the operator set stay, replicas and ages are raised and
// never lowered. A stream that could lose a request as it stands is refused
// with a [*Problem] rather than changed, for somebody wanted it so. What the
// server brought back and would not deliver is delivered again.
func Setup(ctx context.Context, js jetstream.JetStream, s StreamSettings) error {
	for _, want := range []jetstream.StreamConfig{requestsStream(s), resultsStream(s), laterStream(s)} {
		if err := setupStream(ctx, js, want, s.ResultsMinAge); err != nil {
			return err
		}
	}
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		for _, target := range events.Targets() {
			if _, err := js.CreateOrUpdateConsumer(ctx, stream, laneConsumer(stream, target)); err != nil {
				return fmt.Errorf("consumer %s of %s: %w", target, stream, err)
			}
		}
	}
	passed, err := PassedOver(ctx, js, events.Targets()...)
	if err != nil {
		return err
	}
	return Redeliver(ctx, js, passed)
}

func setupStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, resultsMinAge time.Duration) error {
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err = js.CreateStream(ctx, want); err != nil {
			return fmt.Errorf("create stream %s: %w", want.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", want.Name, err)
	}
	have := stream.CachedInfo().Config
	if err := checkStream(have); err != nil {
		return err
	}
	if have.Name == events.StreamResults {
		if err := checkResultsAge(have, resultsMinAge); err != nil {
			return err
		}
	}
	if _, err := js.UpdateStream(ctx, merged(have, want)); err != nil {
		return fmt.Errorf("update stream %s: %w", want.Name, err)
	}
	return nil
}

// merged is have with what Lethe needs of want.
func merged(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	have.Description = want.Description
	have.Subjects = want.Subjects
	have.Discard = want.Discard
	have.Duplicates = max(have.Duplicates, want.Duplicates)
	have.Replicas = max(have.Replicas, want.Replicas)
	have.DenyDelete = have.DenyDelete || want.DenyDelete
	have.DenyPurge = have.DenyPurge || want.DenyPurge
	have.AllowDirect = have.AllowDirect || want.AllowDirect
	have.AllowMsgSchedules = have.AllowMsgSchedules || want.AllowMsgSchedules
	have.MaxAge = longerAge(have.MaxAge, want.MaxAge)
	return have
}

func requestsStream(s StreamSettings) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:        events.StreamRequests,
		Description: "Deletion requests, kept until each has its result.",
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		Duplicates:  duplicateWindow,
		DenyDelete:  true,
		DenyPurge:   true,
		Replicas:    s.Replicas,
	}
	for _, target := range events.Targets() {
		// One by one and not by wildcard, so that a publish to a target that does
		// not exist is refused to its publisher.
		c.Subjects = append(c.Subjects, events.RequestSubject(target))
	}
	return c
}

func resultsStream(s StreamSettings) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.StreamResults,
		Description: "What became of each deletion request: its attempts and results.",
		Subjects:    []string{"deletions.results.*.*.*", "deletions.attempts.*.*.*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		MaxAge:      s.ResultsMaxAge,
		DenyDelete:  true,
		DenyPurge:   true,
		AllowDirect: true,
		Replicas:    s.Replicas,
	}
}

func laterStream(s StreamSettings) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:              events.StreamLater,
		Description:       "The next steps of requests that wait, kept by the worker.",
		Subjects:          []string{"deletions.later.*.*"},
		Retention:         jetstream.WorkQueuePolicy,
		Storage:           jetstream.FileStorage,
		AllowMsgSchedules: true,
		AllowRollup:       true, // comes with schedules
		Replicas:          s.Replicas,
	}
	for _, target := range events.Targets() {
		c.Subjects = append(c.Subjects, events.DueSubject(target))
	}
	return c
}

// laneConsumer is a lane's durable consumer of one stream. Delivery has no
// limit, for a message that is given up by the server would wait for ever; and
// neither has what is pending, for workers bound that by what they pull.
func laneConsumer(stream string, target events.Target) jetstream.ConsumerConfig {
	subject := events.RequestSubject(target)
	if stream == events.StreamLater {
		subject = events.DueSubject(target)
	}
	return jetstream.ConsumerConfig{
		Durable:       string(target),
		FilterSubject: subject,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: -1,
	}
}
