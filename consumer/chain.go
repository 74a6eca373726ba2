package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// chain is the history of each request on DELETION_RESULTS: its attempts and
// results, each link stored only if it follows the one that its writer knew.
// The server thereby accepts exactly one of any number of concurrent writers.
//
// Anybody who may publish there can put a message between two links. It is read
// past: the next link is stored after it, if its writer knew the link before it.
type chain struct {
	js       jetstream.JetStream
	target   events.Target
	instance string
	log      *slog.Logger
	told     toldOf // about foreign messages
	looks    *looks
	persist  func(ctx context.Context, what string, do func(context.Context) error) error
}

func newChain(js jetstream.JetStream, config Config, persist func(ctx context.Context, what string, do func(context.Context) error) error) *chain {
	c := &chain{js: js, target: config.Target, instance: config.Instance, log: config.Log, persist: persist}
	c.looks = &looks{js: js, filter: c.filter}
	return c
}

// The headers that a link bears beside its [History].
const (
	headerLink        = "Lethe-Link"        // names this one link, new for each
	headerFingerprint = "Lethe-Fingerprint" // of the resource, or of an unreadable event
	headerInstance    = "Lethe-Instance"    // the worker that wrote it
	headerLease       = "Lethe-Lease"       // on attempts: how long the worker may be at it
)

// overtakenError says that the chain has another last link than the writer
// knew. Last is nil when the chain has none.
type overtakenError struct{ Last *link }

func (e *overtakenError) Error() string {
	if e.Last == nil {
		return "the chain is empty"
	}
	return fmt.Sprintf("the chain's last link is %d", e.Last.Seq)
}

// filter is the one place that builds the subject filter which guards a chain.
// With three replicas the server compares it as text while a publish is in
// flight, so that two spellings for one id would not see each other.
func (c *chain) filter(id string) string {
	return "deletions.*." + string(c.target) + "." + id + ".*"
}

// record is a link that is about to be stored.
type record struct {
	id       string
	msg      *nats.Msg
	progress History // its Seq is that of the link before, and once the record is stored, its own
	outcome  events.Outcome
	step     Step
	stored   bool
	err      error // of a publish in one go
}

// newAttempt is the record that an attempt is about to be made, or was made. The
// lease is how long no other worker should try; 0 for an attempt that is over.
func (c *chain) newAttempt(ctx context.Context, id, fingerprint string, h History, lease time.Duration) *record {
	body, _ := json.Marshal(attempt{id, c.target, h.Attempts, c.instance}) // strings and a number
	msg := c.newLink(ctx, events.AttemptSubject(c.target, id, h.Attempts), fingerprint, h, body)
	msg.Header.Set("Content-Type", "application/json")
	msg.Header.Set(headerLease, lease.String())
	return &record{id: id, msg: msg, progress: h}
}

// newResult is the record of a result under the given id. It fails with an
// [*events.InvalidError] if the result contradicts itself.
func (c *chain) newResult(ctx context.Context, id, fingerprint string, h History, r events.Result) (*record, error) {
	body, err := r.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode result of %s: %w", id, err)
	}
	msg := c.newLink(ctx, events.ResultSubject(c.target, id, r.Outcome), fingerprint, h, body)
	msg.Header.Set("content-type", "application/cloudevents+json")
	return &record{id: id, msg: msg, progress: h, outcome: r.Outcome}, nil
}

func (c *chain) newLink(ctx context.Context, subject, fingerprint string, h History, body []byte) *nats.Msg {
	msg := &nats.Msg{Subject: subject, Data: body, Header: make(nats.Header, 16)} // some are its publishing's
	msg.Header.Set(headerLink, newID())
	msg.Header.Set(headerFingerprint, fingerprint)
	msg.Header.Set(headerInstance, c.instance)
	h.write(msg.Header)
	inject(ctx, msg.Header)
	return msg
}

// guard is the expectation under which a record of the request id is published.
func (c *chain) guard(id string, expected uint64) []jetstream.PublishOpt {
	return []jetstream.PublishOpt{
		jetstream.WithExpectStream(events.StreamResults), jetstream.WithRetryAttempts(0),
		jetstream.WithExpectLastSequenceForSubject(expected, c.filter(id)),
	}
}

// appendAll publishes records in one go, and notes which of them are stored. Of the
// others nothing is known; append finds out.
func (c *chain) appendAll(ctx context.Context, records []*record) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	futures := make([]jetstream.PubAckFuture, len(records))
	for i, r := range records {
		futures[i], _ = c.js.PublishMsgAsync(r.msg, c.guard(r.id, r.progress.Seq)...) // nil where it was not sent
	}
	for i, future := range futures {
		if future == nil {
			continue
		}
		select {
		case ack := <-future.Ok():
			records[i].stored, records[i].progress.Seq = true, ack.Sequence
		case records[i].err = <-future.Err():
		case <-ctx.Done():
		}
	}
}

// append publishes r as the link after the one that its progress names, which then
// names r. While it is not known whether r was stored, it asks again under the same
// expectation; a refusal is read as "already there" only after looking, because what
// is there may be ours. It fails with *overtakenError, or when ctx ends.
func (c *chain) append(ctx context.Context, r *record) error {
	after := r.progress.Seq
	expected := after
	for {
		wrong := false
		err := c.persist(ctx, r.msg.Subject, func(ctx context.Context) error {
			ack, err := c.js.PublishMsg(ctx, r.msg, c.guard(r.id, expected)...)
			switch wrong = refused(err); {
			case wrong:
				return nil
			case err != nil:
				return err
			}
			r.stored, r.progress.Seq = true, ack.Sequence
			return nil
		})
		if err != nil || !wrong {
			return err
		}
		end, err := c.end(ctx, r.id)
		switch {
		case err != nil:
			return err
		case end.last != nil && end.last.name == r.msg.Header.Get(headerLink):
			r.stored, r.progress.Seq = true, end.last.Seq
			return nil
		case !end.after(after):
			return &overtakenError{Last: end.last}
		case end.seq == expected: // what was there has gone again, or is not settled
			wait(ctx, notSettled)
		}
		expected = end.seq
	}
}

// notSettled is how long to wait after a refusal that a look does not explain.
const notSettled = 20 * time.Millisecond

// refused tells the server's definite "another link is there" (10071) from all
// errors after which nobody knows yet, 10164 among them: a concurrent publish
// that is not settled.
func refused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// follows returns nil if the chain's last link is the one that h knows, and
// *overtakenError if not.
func (c *chain) follows(ctx context.Context, id string, h History) error {
	if h.Seq == 0 && c.looks.empty(ctx, []string{id}) {
		return nil
	}
	end, err := c.end(ctx, id)
	if err == nil && !end.after(h.Seq) {
		err = &overtakenError{Last: end.last}
	}
	return err
}

// last returns the last link of the chain, nil if there is none.
func (c *chain) last(ctx context.Context, id string) (*link, error) {
	end, err := c.end(ctx, id)
	return end.last, err
}

// end is what a chain ends with.
type end struct {
	last *link  // nil if it has none
	seq  uint64 // of the last message, a link or a foreign one; 0 if there is none
}

// after says that no link came after the one with this sequence, 0 for none.
func (e end) after(seq uint64) bool {
	return e.last == nil && seq == 0 || e.last != nil && e.last.Seq == seq
}

// end looks at the end of a chain. It asks the stream's leader: a direct get may be
// answered by a replica that lags behind and has not yet heard of a final result.
func (c *chain) end(ctx context.Context, id string) (end, error) {
	var msg *streams.Message
	err := c.persist(ctx, events.StreamResults, func(ctx context.Context) (err error) {
		msg, err = streams.LastMessage(ctx, c.js, events.StreamResults, c.filter(id))
		return err
	})
	if err != nil || msg == nil {
		return end{}, err
	}
	last, foreign := readLink(msg)
	if foreign == nil {
		return end{last, msg.Seq}, nil
	}
	c.passOver(msg, foreign)
	last, err = c.lastBefore(ctx, id, msg.Seq)
	return end{last, msg.Seq}, err
}

// readAtOnce is how many messages of a chain are read before the time for it
// begins again: however many a publisher put there, the lane has no trouble.
const readAtOnce = 100

// lastBefore reads a chain forward and returns its last link before a message. The
// server has no way to ask for it backward.
func (c *chain) lastBefore(ctx context.Context, id string, before uint64) (last *link, err error) {
	for next := uint64(1); next < before; {
		err := c.persist(ctx, events.StreamResults, func(ctx context.Context) error {
			for range readAtOnce {
				msg, err := streams.NextMessage(ctx, c.js, events.StreamResults, c.filter(id), next)
				if err != nil {
					return err
				}
				if msg == nil || msg.Seq >= before {
					next = before
					return nil
				}
				next = msg.Seq + 1
				if l, foreign := readLink(msg); foreign == nil {
					last = l
				} else {
					c.passOver(msg, foreign)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return last, nil
}

// passOver says that a message is not counted.
func (c *chain) passOver(msg *streams.Message, why error) {
	if c.told.first(msg.Subject) {
		c.log.Warn("read past a message that no worker wrote", "stream", events.StreamResults, "subject", msg.Subject, "sequence", msg.Seq, "why", why)
	}
}

// newID is a UUIDv7, which sorts by its time. Its error is that of the system's
// randomness, which Go's crypto/rand no longer returns.
func newID() string { return uuid.Must(uuid.NewV7()).String() }
