package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/sabotage"
)

// chain is the history of each request on DELETION_RESULTS: its attempts and
// results, each link stored only if it follows the one that its writer knew.
// The server thereby accepts exactly one of any number of concurrent writers.
type chain struct {
	js       jetstream.JetStream
	target   events.Target
	instance string
	keep     time.Duration // how long attempts are kept
	looks    *looks
	persist  func(ctx context.Context, what string, do func(context.Context) error) error
}

func newChain(js jetstream.JetStream, config Config, persist func(ctx context.Context, what string, do func(context.Context) error) error) *chain {
	c := &chain{js: js, target: config.Target, instance: config.Instance, keep: keepAttempts(config.Rules), persist: persist}
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

// link is one message of a chain.
type link struct {
	Seq         uint64
	Stored      time.Time // by the server's clock
	Outcome     events.Outcome
	Fingerprint string
	Instance    string
	Lease       time.Duration
	History     History
	name        string
}

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

// attempt is the body of a link, for people who look.
type attempt struct {
	RequestID string        `json:"request_id"`
	Target    events.Target `json:"target"`
	Attempt   int           `json:"attempt"`
	Instance  string        `json:"instance"`
}

// attempt stores that an attempt is about to be made, or was made, and returns
// its sequence. The lease is how long nobody else should try; 0 for an attempt
// that is over. It fails with *overtakenError, or when ctx ends.
func (c *chain) attempt(ctx context.Context, id, fingerprint string, h History, lease time.Duration) (uint64, error) {
	body, err := json.Marshal(attempt{id, c.target, h.Attempts, c.instance})
	if err != nil {
		return 0, err
	}
	msg := c.newLink(ctx, events.AttemptSubject(c.target, id, h.Attempts), fingerprint, h, body)
	msg.Header.Set("Content-Type", "application/json")
	msg.Header.Set(headerLease, lease.String())
	return c.append(ctx, id, msg, h.Seq, jetstream.WithMsgTTL(c.keep))
}

// result stores a result under the given id and returns its sequence. It fails
// with *overtakenError, or when ctx ends.
func (c *chain) result(ctx context.Context, id, fingerprint string, h History, r events.Result) (uint64, error) {
	body, err := r.Encode()
	if err != nil {
		return 0, fmt.Errorf("encode result of %s: %w", id, err)
	}
	msg := c.newLink(ctx, events.ResultSubject(c.target, id, r.Outcome), fingerprint, h, body)
	msg.Header.Set("content-type", "application/cloudevents+json")
	return c.append(ctx, id, msg, h.Seq)
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

// append publishes msg as the link after sequence after. While nobody knows
// whether it was stored, it asks again under the same expectation; a refusal is
// read as "already there" only after looking, for what is there may be ours.
func (c *chain) append(ctx context.Context, id string, msg *nats.Msg, after uint64, opts ...jetstream.PublishOpt) (uint64, error) {
	opts = append(opts, jetstream.WithExpectStream(events.StreamResults), jetstream.WithRetryAttempts(0))
	if !sabotage.Without(sabotage.Expectation) {
		opts = append(opts, jetstream.WithExpectLastSequenceForSubject(after, c.filter(id)))
	}
	var seq uint64
	err := c.persist(ctx, msg.Subject, func(ctx context.Context) error {
		ack, err := c.js.PublishMsg(ctx, msg, opts...)
		if err == nil {
			seq = ack.Sequence
			return nil
		}
		if !refused(err) {
			return err
		}
		last, err := c.last(ctx, id)
		if err != nil {
			return err
		}
		if last != nil && last.name == msg.Header.Get(headerLink) {
			seq = last.Seq
			return nil
		}
		return &overtakenError{Last: last}
	})
	return seq, err
}

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
	if h.Seq == 0 && c.looks.empty(ctx, id) {
		return nil
	}
	return c.persist(ctx, events.StreamResults, func(ctx context.Context) error {
		last, err := c.last(ctx, id)
		switch {
		case err != nil:
			return err
		case last == nil && h.Seq == 0, last != nil && last.Seq == h.Seq:
			return nil
		default:
			return &overtakenError{Last: last}
		}
	})
}

// last returns the last link of the chain, nil if there is none. It asks the
// stream's leader: a direct get may be answered by a replica that lags behind
// and has not yet heard of a final result.
func (c *chain) last(ctx context.Context, id string) (*link, error) {
	msg, err := lastMessage(ctx, c.js, events.StreamResults, c.filter(id))
	if err != nil || msg == nil {
		return nil, err
	}
	return readLink(msg)
}

// newID is a UUIDv7, which sorts by its time. Its error is that of the system's
// randomness, which Go's crypto/rand no longer returns.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

func readLink(msg *storedMessage) (*link, error) {
	tokens := strings.Split(msg.Subject, ".")
	if len(tokens) != 5 {
		return nil, fmt.Errorf("%s holds a message on %q, which is no link", events.StreamResults, msg.Subject)
	}
	if msg.Header.Get(headerLink) == "" {
		return nil, fmt.Errorf("%s holds a message on %q that no worker wrote", events.StreamResults, msg.Subject)
	}
	l := &link{
		Seq:         msg.Seq,
		Stored:      msg.Time,
		Fingerprint: msg.Header.Get(headerFingerprint),
		Instance:    msg.Header.Get(headerInstance),
		History:     readHistory(msg.Header),
		name:        msg.Header.Get(headerLink),
	}
	l.History.Seq = msg.Seq
	if _, err := strconv.Atoi(tokens[4]); err != nil {
		l.Outcome = events.Outcome(tokens[4])
	}
	l.Lease, _ = time.ParseDuration(msg.Header.Get(headerLease))
	return l, nil
}

// keepAttempts is how long attempts must be kept: through all retries, the
// confirmation and its retries, and a week in which nobody looked.
func keepAttempts(r Rules) time.Duration {
	const week, year = 7 * 24 * time.Hour, 365 * 24 * time.Hour
	return 2*min(r.Retry.MaxElapsed, year) + min(r.ConfirmAfter, year) + week
}
