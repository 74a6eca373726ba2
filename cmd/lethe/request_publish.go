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
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-dev/lethe/events"
)

const (
	// maxUnacknowledged is how many publishes may be out at the same time, and as many
	// questions about earlier answers. A server that is slower than the file thereby
	// slows down the reading.
	maxUnacknowledged = 256
	// lastAnswers is how long an interrupted command waits for what is out.
	lastAnswers = 2 * time.Second
)

// publisher publishes requests and counts what became of them.
type publisher struct {
	js       jetstream.JetStream
	earlier  *earlier
	patience time.Duration // for a stream that is full
	gaveUp   bool          // patience has ended once, and nothing was accepted since
	tally
}

func newPublisher(js jetstream.JetStream, earlier *earlier, patience time.Duration) *publisher {
	return &publisher{js: js, earlier: earlier, patience: patience, tally: tally{reasons: map[string]int{}}}
}

// pending is a row on its way: its earlier answer is looked for, then it is published,
// then it is acknowledged.
type pending struct {
	row
	wrong    *rowError          // the row is none
	answered chan *storedResult // what was answered before; nil where nobody looks
	before   *storedResult      // the same, once it is known
	msg      *nats.Msg          // nil if it was not published
	ack      jetstream.PubAckFuture
	err      error // of the publishing
}

// publishAll publishes the rows in order and calls done for each that the stream
// has stored. Rows that are wrong or refused are counted; what ends it early is a
// file that cannot be read, or ctx.
func (p *publisher) publishAll(ctx context.Context, rows *rows, done func(publication) error) error {
	ctx, span := otel.Tracer("github.com/lethe-dev/lethe/cmd/lethe").Start(ctx, "request", trace.WithSpanKind(trace.SpanKindProducer))
	defer span.End()
	// An interruption ends reading and publishing at once, and waiting a little later.
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

// settleAll settles what is published until there is no more, or until ctx ends.
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
	for range published { // so that nobody waits to send
	}
}

// read sends the rows on, and begins to look for their earlier answers.
func (p *publisher) read(ctx context.Context, rows *rows, to chan<- *pending) error {
	for ctx.Err() == nil {
		row, err := rows.next()
		out := &pending{row: row}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.As(err, &out.wrong) {
			return err
		}
		if err == nil && !row.fresh && p.earlier.possible() {
			out.answered = make(chan *storedResult, 1)
			go func() { out.answered <- p.earlier.look(ctx, row.Request) }()
		}
		select {
		case to <- out:
		case <-ctx.Done():
		}
	}
	return nil
}

// publish publishes the row, once it is known whether it was answered before: later
// that could be an answer to this one.
func (p *publisher) publish(ctx context.Context, out *pending) {
	if out.answered != nil {
		out.before = <-out.answered
	}
	if out.wrong != nil || ctx.Err() != nil {
		return
	}
	out.msg = requestMessage(ctx, out.row)
	out.ack, out.err = p.js.PublishMsgAsync(out.msg)
}

// settle waits for one acknowledgement. A stream that is full is asked again for
// as long as patience lasts, and so is a server that does not answer: the
// message's id makes a repeat harmless.
func (p *publisher) settle(ctx context.Context, out *pending, done func(publication) error) error {
	if out.wrong != nil {
		p.refuse("a row that is no request", out.wrong)
		return nil
	}
	if out.msg == nil {
		return nil // interrupted before
	}
	ack, err := out.acknowledged(ctx)
	repeated := err != nil
	if err != nil && ctx.Err() == nil {
		ack, err = p.again(ctx, out.msg, err)
		p.gaveUp = err != nil
	}
	switch {
	case err != nil && ctx.Err() != nil:
		p.unconfirmed++
		return nil // publishAll says that it was interrupted
	case err != nil:
		p.refuse(err.Error(), fmt.Errorf("%s: %w", out.ID, err))
		return nil
	}
	// A duplicate of a publish that was not acknowledged is that publish.
	published := publication{ID: out.ID, Target: out.Target(), Sequence: ack.Sequence, Duplicate: ack.Duplicate && !repeated}
	p.count(&published, out)
	return done(published)
}

// again publishes what was not accepted again, until patience ends.
func (p *publisher) again(ctx context.Context, msg *nats.Msg, err error) (*jetstream.PubAck, error) {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(p.patience))
	return backoff.RetryWithData(func() (*jetstream.PubAck, error) {
		if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
			return nil, backoff.Permanent(fmt.Errorf("no stream takes %s; `lethe setup` creates it", msg.Subject))
		}
		var ack *jetstream.PubAck
		if ack, err = p.js.PublishMsg(ctx, msg); err != nil && p.gaveUp {
			return nil, backoff.Permanent(err) // one row has waited for all
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

// requestMessage is the request as it is published. The message id holds all that
// makes it this request, so that the stream drops a repeat within its window, and
// nothing else: not the same id for another resource.
func requestMessage(ctx context.Context, r row) *nats.Msg {
	msg := nats.NewMsg(events.RequestSubject(r.Target()))
	msg.Data = r.event
	msg.Header.Set("content-type", events.ContentType)
	msg.Header.Set(nats.MsgIdHdr, fmt.Sprintf("%s.%s.%s", r.Target(), r.ID, events.Fingerprint(r.Resource)))
	inject(ctx, msg)
	return msg
}

// inject puts the trace context into a message's headers.
func inject(ctx context.Context, msg *nats.Msg) {
	values := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, values)
	for name, value := range values {
		msg.Header[name] = []string{value}
	}
}
