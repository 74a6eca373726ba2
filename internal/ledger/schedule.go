package ledger

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// A schedule is the next step of a request as a message in the future, on
// DELETION_LATER (ADR-51). The server keeps one for each request: a newer schedule
// replaces an older one.

const (
	headerSchedule = "Nats-Schedule"
	scheduleAt     = "@at "
)

// Schedule has the server deliver the event in msg again at a time, by its own clock,
// with progress p. It returns when the schedule is stored, or with an error when ctx
// ends.
func (l *Ledger) Schedule(ctx context.Context, id string, msg *nats.Msg, p Progress, at time.Time) error {
	header := eventHeaders(msg.Header)
	p.Write(header)
	inject(ctx, header)
	schedule := l.newSchedule(id, msg.Data, header, at)
	return l.Retry(ctx, events.StreamLater, func(ctx context.Context) error {
		_, err := l.js.PublishMsg(ctx, schedule, jetstream.WithExpectStream(events.StreamLater), jetstream.WithRetryAttempts(0))
		return err
	})
}

func (l *Ledger) newSchedule(id string, data []byte, header nats.Header, at time.Time) *nats.Msg {
	// Written here, because nats.go's own option cuts the time to whole seconds.
	header.Set(headerSchedule, scheduleAt+at.UTC().Format(time.RFC3339Nano))
	header.Set("Nats-Schedule-Target", events.DueSubject(l.target))
	return &nats.Msg{Subject: events.LaterSubject(l.target, id), Data: data, Header: header}
}

// maxLateness is how late a schedule may fire. A later one counts as lost.
const maxLateness = time.Minute

// IsScheduled reports whether a next step of the request is scheduled and will come due.
// due is the sequence of the step in flight if that came from a schedule itself, else 0:
// an earlier schedule has fired or was replaced, although a partitioned server that still
// acts as the leader may return it.
func (l *Ledger) IsScheduled(ctx context.Context, id string, due uint64, now time.Time) (is bool, err error) {
	subject := events.LaterSubject(l.target, id)
	err = l.Retry(ctx, events.StreamLater, func(ctx context.Context) error {
		msg, err := streams.LastMessage(ctx, l.js, events.StreamLater, subject)
		is = msg != nil && msg.Seq > due && now.Before(ScheduledAt(msg.Header).Add(maxLateness))
		return err
	})
	return is, err
}

// ScheduledAt is the time that a schedule names, zero if it names none.
func ScheduledAt(header nats.Header) time.Time {
	at, _ := time.Parse(time.RFC3339Nano, strings.TrimPrefix(header.Get(headerSchedule), scheduleAt))
	return at
}

// RetryScheduled reports whether a retry is scheduled for any request. Of the schedules
// only the last one is read: if that is a confirmation, the API has accepted a request
// since the last retry.
func (l *Ledger) RetryScheduled(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	last, err := streams.LastMessage(ctx, l.js, events.StreamLater, events.LaterSubject(l.target, "*"))
	if err != nil || last == nil {
		return false, err
	}
	return !ReadProgress(last.Header).AwaitingRemoval, nil
}

// BringForward reschedules the next step of a request to a time. It does nothing where no
// step is scheduled.
func (l *Ledger) BringForward(ctx context.Context, id string, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	subject := events.LaterSubject(l.target, id)
	last, err := streams.LastMessage(ctx, l.js, events.StreamLater, subject)
	if err != nil || last == nil {
		return err
	}
	header := nats.Header{}
	for name, values := range last.Header {
		if !strings.HasPrefix(strings.ToLower(name), "nats-") {
			header[name] = values
		}
	}
	_, err = l.js.PublishMsg(ctx, l.newSchedule(id, last.Data, header, at),
		jetstream.WithExpectStream(events.StreamLater), jetstream.WithExpectLastSequencePerSubject(last.Seq))
	return err
}

// eventHeaders copies the headers that belong to the event itself. Everything else
// stays behind: a publisher's Nats-* headers would be commands to the server, and its
// Lethe-* headers a forged progress.
func eventHeaders(from nats.Header) nats.Header {
	to := nats.Header{}
	for name, values := range from {
		lower := strings.ToLower(name)
		if lower == "content-type" || strings.HasPrefix(lower, "ce-") {
			to[name] = values
		}
	}
	return to
}
