package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// Publish spreads the messages evenly over a time, and retries each until the server
// has stored it.
func (env *Environment) Publish(ctx context.Context, messages []Message, over time.Duration) error {
	start := time.Now()
	for i, m := range messages {
		timer := time.NewTimer(time.Until(start.Add(over * time.Duration(i) / time.Duration(len(messages)))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		p := m.Publication
		for {
			// The message id lets the server drop a retry of this publish within its
			// duplicate window.
			msg := &nats.Msg{Subject: events.RequestSubject(m.Target), Data: m.Body, Header: nats.Header{jetstream.MsgIDHeader: {fmt.Sprintf("%d-%d", start.UnixNano(), i)}}}
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			ack, err := env.js.PublishMsg(try, msg, jetstream.WithRetryAttempts(0))
			cancel()
			if err == nil {
				p.Sequence = ack.Sequence
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("publish: %w", err)
			}
			p.Twice = true
			time.Sleep(20 * time.Millisecond)
		}
		env.published = append(env.published, p)
		env.progress.Add(1)
	}
	return nil
}

// Counts returns the number of messages in each stream.
func (env *Environment) Counts(ctx context.Context) (counts map[string]uint64, err error) {
	counts = map[string]uint64{}
	for _, name := range []string{events.StreamRequests, events.StreamLater, events.StreamResults} {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		stream, err := env.js.Stream(try, name)
		cancel()
		if err != nil {
			return nil, err
		}
		counts[name] = stream.CachedInfo().State.Msgs
	}
	return counts, nil
}

// retry calls ask until it succeeds, for 2 minutes at most: a request can get lost while
// servers elect a leader.
func retry[T any](ctx context.Context, ask func(context.Context) (T, error)) (answer T, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	policy := backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx)
	if ended := backoff.Retry(func() error {
		try, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		answer, err = ask(try)
		return err
	}, policy); ended != nil {
		return answer, errors.Join(ended, err)
	}
	return answer, nil
}

// Drain waits until both queues are empty. It fails if their counts have not
// changed for timeout. It recreates consumers with stranded messages, as `lethe
// setup` does.
func (env *Environment) Drain(ctx context.Context, timeout time.Duration) error {
	var before string
	var recreateErr error
	for moved := time.Now(); ; {
		counts, err := env.Counts(ctx)
		switch now := fmt.Sprint(counts); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && counts[events.StreamRequests] == 0 && counts[events.StreamLater] == 0:
			return nil
		case err == nil && now != before:
			before, moved = now, time.Now()
		case time.Since(moved) > timeout:
			return fmt.Errorf("no progress for %s: %w", timeout, errors.Join(err, recreateErr, errors.New(before)))
		case err == nil && time.Since(moved) > timeout/4:
			var stranded []*streams.Problem
			if stranded, recreateErr = streams.Stranded(ctx, env.js, events.Targets()...); recreateErr == nil {
				recreateErr = streams.Redeliver(ctx, env.js, stranded)
			}
			if recreateErr == nil && len(stranded) > 0 {
				env.Recreated += len(stranded)
				moved = time.Now()
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}
