package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// Wait is how long after [Pause] a worker may still begin a call.
const Wait = BeginWithin + Tolerance

// ErrChanged means that another person wrote the lane's key at the same time.
var ErrChanged = errors.New("another person changed the lane at the same time")

// ErrNoBucket means that the bucket is missing.
var ErrNoBucket = errors.New("the bucket lethe-control is missing; `lethe setup` creates it")

// Pause stores a pause of a lane with a reason and an end; with the zero time, the pause
// lasts until the lane is resumed. It returns the key before and after. Workers may begin
// calls for the time [Wait] after it has returned. A lane that is already paused gets the
// new reason and end; a key that cannot be read is replaced.
func Pause(ctx context.Context, js jetstream.JetStream, target events.Target, reason, by string, until time.Time) (before, after Lane, err error) {
	want := key{State: Paused, Reason: reason, By: by, Since: now()}
	if !until.IsZero() {
		want.Until = until.UTC().Round(0)
	}
	for {
		if before, err = ReadLane(ctx, js, target); err != nil {
			return before, after, fmt.Errorf("lane %s: %w", target, err)
		}
		after, err = write(ctx, js, before, want)
		if !errors.Is(err, ErrChanged) {
			return before, after, err
		}
		// The key of the other person is the one before this one.
	}
}

// Resume stores that a lane may call. It returns the key before and after, which are the
// same if the lane is running. It fails with [ErrChanged] if another person wrote the
// key at the same time, because that may be a pause that this person has not seen.
func Resume(ctx context.Context, js jetstream.JetStream, target events.Target, by string) (before, after Lane, err error) {
	if before, err = ReadLane(ctx, js, target); err != nil {
		return before, after, fmt.Errorf("lane %s: %w", target, err)
	}
	switch before.State {
	case Unreadable:
		return before, before, fmt.Errorf("lane %s: %s", target, before.Text())
	case Running:
		return before, before, nil
	}
	if !before.Until.IsZero() {
		now, err := serverTime(ctx, js)
		if err != nil {
			return before, before, fmt.Errorf("lane %s: %w", target, err)
		}
		if before.Ended(now) {
			return before, Lane{Target: target, State: Running, Since: before.Until, Sequence: before.Sequence}, nil
		}
	}
	after, err = write(ctx, js, before, key{State: Running, By: by, Since: now()})
	return before, after, err
}

// now is the time as it is stored in a key, without a monotonic reading.
func now() time.Time { return time.Now().UTC().Round(0) }

// write replaces the key of a lane, unless that has changed since before. It repeats the
// publish until it is known whether the key is stored.
func write(ctx context.Context, js jetstream.JetStream, before Lane, want key) (Lane, error) {
	body, err := json.Marshal(want)
	if err != nil {
		return before, err
	}
	subject := streams.LaneKey(before.Target)
	for {
		try, cancel := context.WithTimeout(ctx, storeWithin)
		ack, err := js.PublishMsg(try, &nats.Msg{Subject: streams.PublishSubject(js, subject), Data: body},
			jetstream.WithExpectStream(streams.Control), jetstream.WithExpectLastSequenceForSubject(before.Sequence, subject))
		cancel()
		after := Lane{
			Target: before.Target, State: want.State, Reason: want.Reason, By: want.By, Since: want.Since, Until: want.Until,
		}
		switch {
		case err == nil:
			after.Sequence = ack.Sequence
			return after, nil
		case ctx.Err() != nil:
			return before, fmt.Errorf("lane %s: %w", before.Target, err)
		case errors.Is(err, jetstream.ErrNoStreamResponse):
			if now, err := ReadLane(ctx, js, before.Target); err == nil && now.State == Unreadable && now.Sequence == 0 {
				return before, ErrNoBucket
			}
		case hasCode(err, codeOtherKey):
			now, err := ReadLane(ctx, js, before.Target)
			if err != nil {
				return before, fmt.Errorf("lane %s: %w", before.Target, err)
			}
			if after.Sequence = now.Sequence; now == after { // the acknowledgement of an earlier try was lost
				return after, nil
			}
			return now, fmt.Errorf("lane %s: %w", before.Target, ErrChanged)
		case !hasCode(err, codeInFlight) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout):
			return before, fmt.Errorf("lane %s: %w", before.Target, err)
		}
		sleep(ctx, inFlightWait)
	}
}

// InFlight returns the workers of which a call may be in flight although the lane was
// paused with the given key at least the time [Wait] ago. Each of them began before
// that. A worker that does not answer is among them until its calls have timed out.
func InFlight(ctx context.Context, js jetstream.JetStream, paused Lane) ([]Worker, error) {
	all, err := Workers(ctx, js)
	if err != nil {
		return nil, err
	}
	var calling []Worker
	for _, w := range all {
		if w.Target == paused.Target && w.mayBeCalling(paused.Sequence) {
			calling = append(calling, w)
		}
	}
	return calling, nil
}
