package consumer

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// later schedules the next step of a request as a message in the future, on
// DELETION_LATER (ADR-51). The server keeps one for each request: a later
// schedule replaces an earlier one.
type later struct {
	js      jetstream.JetStream
	target  events.Target
	persist func(ctx context.Context, what string, do func(context.Context) error) error
}

const (
	headerSchedule = "Nats-Schedule"
	scheduleAt     = "@at "
)

// schedule stores that the request comes back at the given time, by the
// server's clock, with history h. It returns when the schedule is stored, or
// with an error when ctx ends.
func (s *later) schedule(ctx context.Context, id string, of *nats.Msg, h History, at time.Time) error {
	header := eventHeaders(of.Header)
	h.write(header)
	inject(ctx, header)
	msg := s.message(id, of.Data, header, at)
	return s.persist(ctx, msg.Subject, func(ctx context.Context) error {
		_, err := s.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(events.StreamLater), jetstream.WithRetryAttempts(0))
		return err
	})
}

// message is the schedule of a request's next step.
func (s *later) message(id string, data []byte, header nats.Header, at time.Time) *nats.Msg {
	// Written here, because nats.go's own option cuts the time to whole seconds.
	header.Set(headerSchedule, scheduleAt+at.UTC().Format(time.RFC3339Nano))
	header.Set("Nats-Schedule-Target", events.DueSubject(s.target))
	return &nats.Msg{Subject: events.LaterSubject(s.target, id), Data: data, Header: header}
}

// overdue is how late a schedule may fire. Nothing is to wait for a later one.
const overdue = time.Minute

// stands tells whether a next step of the request is scheduled, and will come. due
// is the sequence of the step in hand if it came from a schedule itself, else 0: what
// was scheduled before that has fired or was replaced, though a server that was cut
// off, and still takes itself for the leader, shows it yet.
func (s *later) stands(ctx context.Context, id string, due uint64, now time.Time) (standing bool, err error) {
	subject := events.LaterSubject(s.target, id)
	err = s.persist(ctx, subject, func(ctx context.Context) error {
		msg, err := streams.LastMessage(ctx, s.js, events.StreamLater, subject)
		standing = msg != nil && msg.Seq > due && now.Before(scheduled(msg.Header).Add(overdue))
		return err
	})
	return standing, err
}

// scheduled is the time that a schedule names, zero if it names none.
func scheduled(header nats.Header) time.Time {
	at, _ := time.Parse(time.RFC3339Nano, strings.TrimPrefix(header.Get(headerSchedule), scheduleAt))
	return at
}

// eventHeaders copies the headers that belong to the event itself. Everything
// else stays behind: a publisher's Nats-* headers would be commands to the
// server, and its Lethe-* headers a forged history.
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
