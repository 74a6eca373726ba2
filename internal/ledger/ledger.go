// Package ledger keeps what is stored of a request: its records on
// DELETION_RESULTS, which are attempts and results, and its next step as a schedule
// on DELETION_LATER.
//
// The stream itself guards the records. Each is published with the sequence of the
// record before it (Nats-Expected-Last-Subject-Sequence), so that of any number of
// concurrent writers the server accepts exactly one. The others get a
// [*ConflictError] with the record that was there first, and [Resolve] says what to
// do about it.
//
// Read the files in this order:
//
//	progress.go  the progress of a request, which its steps pass on
//	answer.go    what the API answered last, for people
//	record.go    what a record is, strictly
//	ledger.go    appending a record after the one before it
//	head.go      which record is the last one
//	exists.go    whether many requests have no record, with one request to the server
//	resolve.go   what to do when the records are ahead of a message
//	schedule.go  the next step as a message in the future
//	replay.go    trying a failed request again
//	retry.go     retrying until an operation succeeds, and reporting why it fails
//	headers.go   setting the headers of a message
//	carrier.go   trace context in them
//	metrics.go   how often storing failed
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"

	"github.com/lethe-dev/lethe/events"
)

// ClockTolerance is how far the clocks of two workers and the server may differ
// before a lease is misjudged.
const ClockTolerance = 5 * time.Second

// Ledger reads and writes the records of one target's requests for one worker. It is
// safe for concurrent use.
type Ledger struct {
	js       jetstream.JetStream
	target   events.Target
	instance string
	log      *slog.Logger
	foreign  seenSubjects // that were logged
	exists   existence
	failures *failures
	failed   failedTries
}

// New returns the ledger of a target. instance names the worker in records.
func New(js jetstream.JetStream, target events.Target, instance string, log *slog.Logger) *Ledger {
	l := &Ledger{js: js, target: target, instance: instance, log: log, failures: newFailures(log), failed: newFailedTries(target)}
	l.exists = existence{js: js, filter: l.filter}
	return l
}

// Filter is the one place that builds the subject filter which guards a request's
// records. With three replicas the server compares it as text while a publish is in
// flight, so that two spellings for one id would not see each other.
func Filter(target events.Target, id string) string {
	return "deletions.*." + string(target) + "." + id + ".*"
}

func (l *Ledger) filter(id string) string { return Filter(l.target, id) }

// Pending is a record that is about to be stored.
type Pending struct {
	ID       string
	Progress Progress // its Seq names the record before, and once this one is stored, this one
	Stored   bool

	// Of a result: its outcome, its error if there is one, and its request's source.
	Outcome events.Outcome
	Error   *events.ResultError
	Source  string

	msg    nats.Msg
	header headerWriter // of msg
	values [16]string   // of the header, in the record's own allocation
	guard  [3]string    // the values of the expectation
}

// Subject is where the record is stored.
func (p *Pending) Subject() string { return p.msg.Subject }

// SetTrace replaces the trace context that the record carries by that of ctx.
func (p *Pending) SetTrace(ctx context.Context) { inject(ctx, p.msg.Header) }

// NewAttempt returns the record of an attempt that is about to be made, or is over. lease
// is how long no other worker should try; 0 for an attempt that is over.
func (l *Ledger) NewAttempt(ctx context.Context, id, fingerprint string, p Progress, lease time.Duration) *Pending {
	body, _ := json.Marshal(attempt{id, l.target, p.Attempts, l.instance}) // strings and a number
	r := l.newPending(ctx, events.AttemptSubject(l.target, id, p.Attempts), id, fingerprint, p, body)
	r.header.Set("Content-Type", "application/json")
	r.header.Set(headerLease, lease.String())
	return r
}

// NewResult returns the record of a result under the given id. It fails with an
// [*events.InvalidError] if the result contradicts itself.
func (l *Ledger) NewResult(ctx context.Context, id, fingerprint string, p Progress, r events.Result) (*Pending, error) {
	p.Answer = Answer{} // the result contains it
	body, err := r.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode result of %s: %w", id, err)
	}
	pending := l.newPending(ctx, events.ResultSubject(l.target, id, r.Outcome), id, fingerprint, p, body)
	pending.header.Set("content-type", "application/cloudevents+json")
	pending.Outcome, pending.Error, pending.Source = r.Outcome, r.Error, r.RequestSource
	return pending, nil
}

// newPending returns a record with the headers that all have.
func (l *Ledger) newPending(ctx context.Context, subject, id, fingerprint string, p Progress, body []byte) *Pending {
	r := &Pending{ID: id, Progress: p}
	r.msg = nats.Msg{Subject: subject, Data: body, Header: make(nats.Header, len(r.values))}
	r.header = headerWriter{Header: r.msg.Header, values: r.values[:0]}
	r.header.Set(headerRecord, NewID())
	r.header.Set(headerFingerprint, fingerprint)
	r.header.Set(headerInstance, l.instance)
	p.StoredAt = time.Time{} // the request's message or its schedule says it
	p.write(&r.header)
	inject(ctx, r.msg.Header)
	return r
}

// guard sets the expectation under which a record is published.
func (l *Ledger) guard(p *Pending, expected uint64) {
	p.guard = [...]string{events.StreamResults, strconv.FormatUint(expected, 10), l.filter(p.ID)}
	p.msg.Header[jetstream.ExpectedStreamHeader] = p.guard[0:1:1]
	p.msg.Header[jetstream.ExpectedLastSubjSeqHeader] = p.guard[1:2:2]
	p.msg.Header[jetstream.ExpectedLastSubjSeqSubjHeader] = p.guard[2:3:3]
}

// publish publishes a message once, and returns its sequence. jetstream does the same,
// with three times the allocations.
func (l *Ledger) publish(ctx context.Context, msg *nats.Msg) (seq uint64, err error) {
	reply, err := l.js.Conn().RequestMsgWithContext(ctx, msg)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return 0, jetstream.ErrNoStreamResponse
	case err != nil:
		return 0, err
	}
	return readAck(reply)
}

// readAck reads the server's reply to a publish (ADR-22): the sequence of the message,
// or a [*jetstream.APIError].
func readAck(reply *nats.Msg) (seq uint64, err error) {
	var ack struct {
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Error  *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(reply.Data, &ack); {
	case err != nil || ack.Error == nil && ack.Stream == "":
		return 0, jetstream.ErrInvalidJSAck
	case ack.Error != nil:
		return 0, ack.Error
	}
	return ack.Seq, nil
}

// appendAllTimeout bounds how long AppendAll waits for its acknowledgements.
const appendAllTimeout = time.Second

// AppendAll publishes records together, and sets Stored and the sequence of those that
// the server acknowledges within a second. Whether the others are stored is unknown;
// [Ledger.Append] finds out.
func (l *Ledger) AppendAll(ctx context.Context, all []*Pending) {
	ctx, cancel := context.WithTimeout(ctx, appendAllTimeout)
	defer cancel()
	nc := l.js.Conn()
	inbox := nc.NewInbox()
	replies := make(chan *nats.Msg, len(all))
	sub, err := nc.ChanSubscribe(inbox+".*", replies)
	if err != nil {
		return
	}
	defer func() { _ = sub.Unsubscribe() }() // fails on a closed connection alone
	published := 0
	for i, p := range all {
		l.guard(p, p.Progress.Seq)
		p.msg.Reply = inbox + "." + strconv.Itoa(i)
		if nc.PublishMsg(&p.msg) == nil {
			published++
		}
		p.msg.Reply = ""
	}
	for range published {
		select {
		case reply := <-replies:
			if seq, err := readAck(reply); err == nil {
				i, _ := strconv.Atoi(reply.Subject[len(inbox)+1:]) // ours
				all[i].Stored, all[i].Progress.Seq = true, seq
			}
		case <-ctx.Done():
			return
		}
	}
}

// Append stores p after the record that its progress names, which then names p. While it
// is not known whether p was stored, it publishes again under the same expectation; after
// a refusal it reads the last record, which may be p itself, stored by an earlier try. It
// fails with a [*ConflictError], or when ctx ends.
func (l *Ledger) Append(ctx context.Context, p *Pending) error {
	after := p.Progress.Seq
	expected := after
	for {
		wrong := false
		l.guard(p, expected)
		err := l.Retry(ctx, events.StreamResults, func(ctx context.Context) error {
			seq, err := l.publish(ctx, &p.msg)
			switch wrong = isConflict(err); {
			case wrong:
				return nil
			case err != nil:
				return err
			}
			p.Stored, p.Progress.Seq = true, seq
			return nil
		})
		if err != nil || !wrong {
			return err
		}
		head, err := l.head(ctx, p.ID)
		switch {
		case err != nil:
			return err
		case head.last != nil && head.last.name == p.msg.Header.Get(headerRecord):
			p.Stored, p.Progress.Seq = true, head.last.Seq
			return nil
		case !head.isAt(after):
			return &ConflictError{Last: head.last}
		case head.seq == expected: // that message is gone again, or not committed yet
			sleep(ctx, notSettled)
		}
		expected = head.seq
	}
}

// notSettled is how long to wait after a refusal that the last record does not explain.
const notSettled = 20 * time.Millisecond

// isConflict reports whether the server refused a record because another one was stored
// first (10071). After all other errors it is unknown whether the record is stored, also
// after 10164, a concurrent publish that is not committed yet.
func isConflict(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// ConflictError means that a request has another last record than the writer knew. Last
// is nil when it has none.
type ConflictError struct{ Last *Record }

func (e *ConflictError) Error() string {
	if e.Last == nil {
		return "the request has no record"
	}
	return fmt.Sprintf("the request's last record is %d", e.Last.Seq)
}

// NewID returns a UUIDv7, which sorts by its time. It ignores the error of NewV7, which
// only crypto/rand could cause: that no longer fails.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// inject puts the current span's context into headers.
func inject(ctx context.Context, to nats.Header) {
	otel.GetTextMapPropagator().Inject(ctx, HeaderCarrier(to))
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
