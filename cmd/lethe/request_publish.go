package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

const (
	// maxUnacknowledged limits the publishes in flight, and the lookups of earlier
	// results. A slow server thereby slows down reading the file.
	maxUnacknowledged = 256
	// lastAnswers is how long an interrupted command waits for acknowledgements.
	lastAnswers = 2 * time.Second
)

// publisher publishes requests and counts the results.
type publisher struct {
	js      jetstream.JetStream
	results *resultLookup
	timeout time.Duration // for retries, for example while a stream is full
	gaveUp  bool          // the last retry timed out, and nothing was accepted since
	tally
}

func newPublisher(js jetstream.JetStream, results *resultLookup, timeout time.Duration) *publisher {
	return &publisher{js: js, results: results, timeout: timeout, tally: tally{reasons: map[string]int{}}}
}

// pending is a row in progress: its earlier result is looked up, it is published, and
// it is acknowledged.
type pending struct {
	row
	invalid  *rowError          // the row is not a request
	answered chan *storedResult // receives the earlier result; nil without a lookup
	before   *storedResult      // the earlier result, once known
	msg      *nats.Msg          // nil before it is published
	ack      jetstream.PubAckFuture
	err      error       // of the publishing
	sent     func(error) // ends the span of the publishing
}

// publishAll publishes the rows in order and calls done for each stored request. It
// counts invalid and refused rows. It ends early if the file cannot be read, or when
// ctx ends.
func (p *publisher) publishAll(ctx context.Context, rows *rows, done func(publication) error) error {
	// An interruption stops reading and publishing, and a little later waiting for acknowledgements.
	answers, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(lastAnswers):
			cancel()
		case <-answers.Done():
		}
	})()
	reading, stop := context.WithCancel(ctx)
	defer stop()

	read, published := make(chan *pending, maxUnacknowledged), make(chan *pending, maxUnacknowledged)
	var unread error
	go func() {
		defer close(read)
		unread = p.read(reading, rows, read)
	}()
	go func() {
		defer close(published)
		for out := range read {
			p.publish(reading, out)
			published <- out
		}
	}()
	if err := p.settleAll(answers, published, done); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	if unread != nil {
		return fmt.Errorf("--file: %w", unread)
	}
	return nil
}

var errInterrupted = errors.New("interrupted")

// settleAll settles the published requests until there are no more, or until ctx ends.
func (p *publisher) settleAll(ctx context.Context, published <-chan *pending, done func(publication) error) error {
	for {
		select {
		case out, more := <-published:
			if !more {
				return nil
			}
			if err := p.settle(ctx, out, done); err != nil {
				go drain(published)
				return err
			}
		case <-ctx.Done():
			go drain(published)
			return errInterrupted
		}
	}
}

func drain(published <-chan *pending) {
	for range published { // so that no sender blocks
	}
}

// read sends the rows to a channel and starts to look up their earlier results.
func (p *publisher) read(ctx context.Context, rows *rows, to chan<- *pending) error {
	for ctx.Err() == nil {
		row, err := rows.next()
		out := &pending{row: row}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.As(err, &out.invalid) {
			return err
		}
		if err == nil && !row.isNew && p.results.possible() {
			out.answered = make(chan *storedResult, 1)
			go func() { out.answered <- p.results.find(ctx, row.Request) }()
		}
		select {
		case to <- out:
		case <-ctx.Done():
		}
	}
	return nil
}

// publish publishes the row after the lookup of its earlier result. A later lookup
// could find the result of this publish.
func (p *publisher) publish(ctx context.Context, out *pending) {
	if out.answered != nil {
		out.before = <-out.answered
	}
	if out.invalid != nil || ctx.Err() != nil {
		return
	}
	out.msg = requestMessage(out.row)
	out.sent = beginSend(ctx, out.msg, out.ID)
	out.ack, out.err = p.js.PublishMsgAsync(out.msg)
}

// settle waits for one acknowledgement. If the stream is full or the server does not
// answer, it publishes again until the timeout. The message id makes a repeat
// harmless.
func (p *publisher) settle(ctx context.Context, out *pending, done func(publication) error) error {
	if out.invalid != nil {
		p.refuse("invalid row", out.invalid)
		return nil //nolint:nilerr // the row is counted and named; the next rows are published
	}
	if out.msg == nil {
		return nil // interrupted before it was published
	}
	ack, err := out.acknowledged(ctx)
	repeated := err != nil
	if err != nil && ctx.Err() == nil {
		ack, err = p.again(ctx, out.msg, err)
		p.gaveUp = err != nil
	}
	out.sent(err)
	if err != nil && ctx.Err() == nil && silent(err) {
		p.unconfirmed++
		return fmt.Errorf("the server confirmed nothing within %s, its disk may be full or failing: %w", p.timeout, err)
	}
	if err != nil {
		if ctx.Err() != nil {
			p.unconfirmed++
		} else {
			p.refuse(err.Error(), fmt.Errorf("%s: %w", out.ID, err))
		}
		return nil // publishAll continues with the next row, or returns errInterrupted
	}
	// After a repeat, a duplicate is our own first publish.
	published := publication{ID: out.ID, Target: out.Target(), Sequence: ack.Sequence, Duplicate: ack.Duplicate && !repeated}
	p.count(&published, out)
	return done(published)
}

// silent reports whether the server did not answer. Each further row would wait as long.
func silent(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrAsyncPublishTimeout)
}

// again repeats a publish until it is accepted or the timeout ends.
func (p *publisher) again(ctx context.Context, msg *nats.Msg, err error) (*jetstream.PubAck, error) {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(p.timeout))
	return backoff.RetryWithData(func() (*jetstream.PubAck, error) {
		if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
			return nil, backoff.Permanent(fmt.Errorf("no stream has the subject %s; `lethe setup` creates it", msg.Subject))
		}
		var ack *jetstream.PubAck
		if ack, err = p.js.PublishMsg(ctx, msg); err != nil && p.gaveUp {
			return nil, backoff.Permanent(err) // an earlier row has already waited
		}
		return ack, err
	}, backoff.WithContext(policy, ctx))
}

// acknowledged waits for the stream's answer.
func (out *pending) acknowledged(ctx context.Context) (*jetstream.PubAck, error) {
	if out.err != nil {
		return nil, out.err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-out.ack.Err():
		return nil, err
	case ok := <-out.ack.Ok():
		return ok, nil
	}
}

// requestMessage returns the message of a request. The message id includes the
// fingerprint, so that the stream drops a repeat within its duplicate window, but not
// the same id for another resource.
func requestMessage(r row) *nats.Msg {
	msg := nats.NewMsg(events.RequestSubject(r.Target()))
	msg.Data = r.event
	msg.Header.Set("content-type", events.ContentType)
	msg.Header.Set(nats.MsgIdHdr, r.MessageID())
	return msg
}
