// Package backlog reads the state of the streams from the server: how many requests
// of each target wait, are in flight or are scheduled, how old the oldest is, how many
// failed results are kept, and how full each stream is.
//
// [Read] reads once, for a command. A [Poller] reads at an interval and keeps the latest
// [Snapshot], which metrics and pages share.
package backlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// askWithin limits each request to the server. A stream without a leader does not
// answer, and must not delay the numbers of the others for long.
const askWithin = 2 * time.Second

// Snapshot is what the server reported at one time.
type Snapshot struct {
	// At is when the reading began, by this process's clock.
	At      time.Time
	Lanes   []Lane
	Streams []Stream // those that could be read
	// Problems are the parts that could not be read, each with its reason.
	Problems []error
}

// Lane is the backlog of one target. A nil field could not be read.
type Lane struct {
	Target events.Target
	// Waiting messages are requests and due steps that no worker has. InFlight ones are
	// with a worker, or were returned by one and not delivered again yet.
	Waiting, InFlight *uint64
	// Scheduled is how many requests wait for a time.
	Scheduled *uint64
	// Failed is how many failed results the stream keeps.
	Failed *uint64
	// Oldest is the age of the oldest message that is waiting, in flight or due, by the
	// server's clock; 0 if there is none. A due step counts from its due time.
	Oldest *time.Duration
}

// Stream is how full a stream is.
type Stream struct {
	Name     string
	Messages uint64
	Bytes    uint64
	MaxBytes int64         // 0: no limit
	MaxAge   time.Duration // 0: messages are kept forever
	LastSeq  uint64        // how many messages were ever stored
}

// Read sends the server a few requests for each target. If a part is unavailable, it
// returns the others.
func Read(ctx context.Context, js jetstream.JetStream, targets ...events.Target) *Snapshot {
	r := &reader{js: js, Snapshot: Snapshot{At: time.Now(), Lanes: make([]Lane, len(targets))}}
	now, parts := r.streams(ctx), sync.WaitGroup{}
	for i, target := range targets {
		lane := &r.Lanes[i]
		lane.Target = target
		parts.Go(func() { r.counts(ctx, lane, now) })
		parts.Go(func() {
			lane.Scheduled = r.count(ctx, events.StreamLater, streams.ScheduledCounter(target))
		})
		parts.Go(func() {
			lane.Failed = r.count(ctx, events.StreamResults, streams.FailedCounter(target))
		})
	}
	parts.Wait()
	slices.SortFunc(r.Problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return &r.Snapshot
}

// reader collects a Snapshot. Only problem may be called by many goroutines.
type reader struct {
	js jetstream.JetStream
	Snapshot

	mu sync.Mutex
}

func (r *reader) problem(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Problems = append(r.Problems, err)
}

// streams reads how full the streams are. It returns the server's time, or ours if no
// stream answered.
func (r *reader) streams(ctx context.Context) (now time.Time) {
	names := []string{events.StreamRequests, events.StreamResults, events.StreamLater}
	infos := make([]*jetstream.StreamInfo, len(names))
	var parts sync.WaitGroup
	for i, name := range names {
		parts.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askWithin)
			defer cancel()
			stream, err := r.js.Stream(ctx, name)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				r.problem(fmt.Errorf("the stream %s is missing; `lethe setup` creates it", name))
				return
			}
			if err != nil {
				r.problem(fmt.Errorf("stream %s: %w", name, err))
				return
			}
			infos[i] = stream.CachedInfo()
		})
	}
	parts.Wait()
	now = time.Now()
	for i, info := range infos {
		if info == nil {
			continue
		}
		r.Streams = append(r.Streams, Stream{Name: names[i], Messages: info.State.Msgs, Bytes: info.State.Bytes,
			MaxBytes: max(info.Config.MaxBytes, 0), MaxAge: info.Config.MaxAge, LastSeq: info.State.LastSeq})
		if !info.TimeStamp.IsZero() {
			now = info.TimeStamp
		}
	}
	return now
}

// counts reads what is waiting and in flight of a lane, and how old the oldest is. The
// two consumers are one number: a request is in one of the streams at a time.
func (r *reader) counts(ctx context.Context, lane *Lane, now time.Time) {
	var waiting, inFlight uint64
	var oldest time.Duration
	aged := true
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		w, f, err := queue(ctx, r.js, stream, lane.Target)
		if err != nil {
			r.problem(err)
			return
		}
		waiting, inFlight = waiting+w, inFlight+f
		age, err := oldestAge(ctx, r.js, stream, lane.Target, now)
		if err != nil {
			r.problem(err)
			aged = false
		}
		oldest = max(oldest, age)
	}
	lane.Waiting, lane.InFlight = &waiting, &inFlight
	if aged {
		lane.Oldest = &oldest
	}
}

// queue returns how many messages of a stream wait for a target's lane, and how many
// are in flight.
func queue(ctx context.Context, js jetstream.JetStream, stream string, target events.Target) (waiting, inFlight uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	consumer, err := js.Consumer(ctx, stream, string(target))
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return 0, 0, nil // nothing waits in it; reading its size reports it
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		waiting, err = stored(ctx, js, stream, target)
		return waiting, 0, err
	case err != nil:
		return 0, 0, fmt.Errorf("consumer %s of %s: %w", target, stream, err)
	}
	info := consumer.CachedInfo()
	return info.NumPending, uint64(max(info.NumAckPending, 0)), nil
}

// stored counts the messages of a lane in a stream if its consumer is missing.
func stored(ctx context.Context, js jetstream.JetStream, name string, target events.Target) (uint64, error) {
	subject := streams.LaneConsumer(name, target).FilterSubject
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", name, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", name, err)
	}
	return info.State.Subjects[subject], nil
}

// oldestAge returns the age of the first message of a lane in a stream, 0 if there is
// none. An acknowledged message is removed, so the first one has no answer yet. The
// server finds it by its index of subjects.
func oldestAge(ctx context.Context, js jetstream.JetStream, stream string, target events.Target, now time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	first, err := streams.NextMessage(ctx, js, stream, streams.LaneConsumer(stream, target).FilterSubject, 1)
	var missing *jetstream.APIError
	if errors.As(err, &missing) && missing.ErrorCode == jetstream.JSErrCodeStreamNotFound {
		return 0, nil
	}
	if err != nil || first == nil {
		return 0, err
	}
	return max(now.Sub(first.Time), 0), nil
}

// count returns what a counter counts, nil if it could not be read.
func (r *reader) count(ctx context.Context, stream string, counter jetstream.ConsumerConfig) *uint64 {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	n, err := streams.Count(ctx, r.js, stream, counter)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return new(uint64)
	case err != nil:
		r.problem(err)
		return nil
	}
	return &n
}
