package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-dev/lethe/events"
)

// maxUnacknowledged is how many publishes may be out at the same time. A server
// that is slower than the file thereby slows down the reading.
const maxUnacknowledged = 256

// publisher publishes requests and counts what became of them.
type publisher struct {
	// looks bounds looking at what is there, beyond what publishing does.
	looks      context.Context
	js         jetstream.JetStream
	patience   time.Duration // for a stream that is full
	published  int
	duplicates int
	reasons    map[string]int // of refusals
	examples   []string       // the first refusals, in full
}

func newPublisher(js jetstream.JetStream, patience time.Duration) *publisher {
	return &publisher{js: js, patience: patience, reasons: map[string]int{}}
}

// pending is a publish whose acknowledgement is still out.
type pending struct {
	request events.Request
	msg     *nats.Msg
	ack     jetstream.PubAckFuture
}

// publishAll publishes the rows in order and calls done for each that the stream
// has taken. Rows that are wrong or refused are counted; what ends it early is a
// file that cannot be read, or ctx.
func (p *publisher) publishAll(ctx context.Context, rows *rows, done func(publication) error) error {
	ctx, span := otel.Tracer("github.com/lethe-dev/lethe/cmd/lethe").Start(ctx, "request", trace.WithSpanKind(trace.SpanKindProducer))
	defer span.End()
	var out []pending
	settleFirst := func() error {
		first := out[0]
		out = out[1:]
		return p.settle(ctx, first, done)
	}
	for ctx.Err() == nil {
		request, err := rows.next()
		var row *rowError
		if errors.As(err, &row) {
			p.refuse("a row that is no request", row)
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("--file: %w", err)
		}
		msg, err := requestMessage(ctx, request)
		if err != nil {
			p.refuse("a row that is no request", err)
			continue
		}
		ack, err := p.js.PublishMsgAsync(msg)
		if err != nil {
			return fmt.Errorf("publish %s: %w", request.ID, err)
		}
		out = append(out, pending{request, msg, ack})
		if len(out) >= maxUnacknowledged {
			if err := settleFirst(); err != nil {
				return err
			}
		}
	}
	for len(out) > 0 && ctx.Err() == nil {
		if err := settleFirst(); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted; publishing the file again asks for nothing twice")
	}
	return nil
}

// settle waits for one acknowledgement. A stream that is full is asked again for
// as long as patience lasts, and so is a server that does not answer: the
// message's id makes a repeat harmless.
func (p *publisher) settle(ctx context.Context, out pending, done func(publication) error) error {
	ack, err := wait(ctx, out.ack)
	if err != nil && ctx.Err() == nil {
		policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
			backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(p.patience))
		ack, err = backoff.RetryWithData(func() (*jetstream.PubAck, error) {
			if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
				return nil, backoff.Permanent(fmt.Errorf("no stream takes %s; `lethe setup` creates it", out.msg.Subject))
			}
			var ack *jetstream.PubAck
			ack, err = p.js.PublishMsg(ctx, out.msg)
			return ack, err
		}, backoff.WithContext(policy, ctx))
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // publishAll says that it was interrupted
	case err != nil:
		p.refuse(err.Error(), fmt.Errorf("%s: %w", out.request.ID, err))
		return nil
	case ack.Duplicate:
		if !p.sameRequest(p.looks, out.request, ack.Sequence) {
			p.refuse("an id that already names another resource", fmt.Errorf("%s: the id already names another resource; nothing was published", out.request.ID))
			return nil
		}
		p.duplicates++
	default:
		p.published++
	}
	return done(publication{out.request.ID, out.request.Target(), ack.Sequence, ack.Duplicate})
}

// sameRequest looks whether a publish that the stream has dropped as a repeat was
// one: its message id may be that of a request for another resource, which then
// gets no answer of its own. What cannot be looked at is taken for a repeat.
func (p *publisher) sameRequest(ctx context.Context, r events.Request, sequence uint64) bool {
	want := events.Fingerprint(r.Resource)
	if stream, err := p.js.Stream(ctx, events.StreamResults); err == nil {
		if msg, err := stream.GetLastMsgForSubject(ctx, events.ResultFilter(r.Target(), r.ID, "")); err == nil {
			result, err := events.ReadResult(msg.Header, msg.Data)
			return err != nil || result.Resource == nil || events.Fingerprint(result.Resource) == want
		}
	}
	if stream, err := p.js.Stream(ctx, events.StreamRequests); err == nil {
		if msg, err := stream.GetMsg(ctx, sequence); err == nil {
			first, err := events.ReadRequest(events.TargetOfSubject(msg.Subject), msg.Header, msg.Data)
			return err != nil || events.Fingerprint(first.Resource) == want
		}
	}
	return true
}

func wait(ctx context.Context, ack jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-ack.Err():
		return nil, err
	case ok := <-ack.Ok():
		return ok, nil
	}
}

// requestMessage is the request as it is published: its id is the message's too,
// so that a repeat within the stream's window is dropped there.
func requestMessage(ctx context.Context, r events.Request) (*nats.Msg, error) {
	body, err := r.Encode()
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(events.RequestSubject(r.Target()))
	msg.Data = body
	msg.Header.Set("content-type", events.ContentType)
	msg.Header.Set(nats.MsgIdHdr, r.ID)
	inject(ctx, msg)
	return msg, nil
}

// inject puts the trace context into a message's headers.
func inject(ctx context.Context, msg *nats.Msg) {
	values := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, values)
	for name, value := range values {
		msg.Header[name] = []string{value}
	}
}

// maxExamples is how many refusals the summary shows in full.
const maxExamples = 10

func (p *publisher) refuse(reason string, err error) {
	p.reasons[reason]++
	if len(p.examples) < maxExamples {
		p.examples = append(p.examples, err.Error())
	}
}

func (p *publisher) refused() int {
	n := 0
	for _, count := range p.reasons {
		n += count
	}
	return n
}

// summary says what was published and what was refused, and why.
func (p *publisher) summary(w io.Writer) {
	_, _ = fmt.Fprintf(w, "published %d, duplicates %d, refused %d\n", p.published, p.duplicates, p.refused())
	byCount := func(a, b string) int { return cmp.Or(p.reasons[b]-p.reasons[a], cmp.Compare(a, b)) }
	for _, reason := range slices.SortedFunc(maps.Keys(p.reasons), byCount) {
		_, _ = fmt.Fprintf(w, "  %d × %s\n", p.reasons[reason], reason)
	}
	for _, example := range p.examples {
		_, _ = fmt.Fprintf(w, "    %s\n", oneLine(errors.New(example)))
	}
}
