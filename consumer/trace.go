package consumer

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// tracing makes the spans of a lane, named and described after OpenTelemetry's
// semantic conventions for messaging: one for the processing of a message, one
// for each publish, one for settling. The HTTP span is the deleter's. A name holds no
// id: it is the operation and the subject, or the subject's template.
type tracing struct {
	tracer trace.Tracer
	target events.Target

	// Options known beforehand. Other attributes are set only on recorded spans, so that
	// the rest cost almost nothing.
	common                        trace.SpanStartEventOption
	processing, sending, settling []trace.SpanStartOption
	requested, due                string // names of the spans of processing
}

func newTracing(target events.Target) *tracing {
	common := trace.WithAttributes(semconv.MessagingSystemKey.String("nats"), semconv.MessagingConsumerGroupName(string(target)), attribute.String("lethe.target", string(target)))
	return &tracing{
		tracer:     otel.Tracer(scope),
		target:     target,
		processing: []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), common, trace.WithAttributes(semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"))},
		sending:    []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer), common, trace.WithAttributes(semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"))},
		settling:   []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), common, trace.WithAttributes(semconv.MessagingOperationTypeSettle)},
		common:     common,
		requested:  "process " + events.RequestSubject(target),
		due:        "process " + events.DueSubject(target),
	}
}

// process begins the span of one message's step, as a child of the span that
// published the message, as its headers or else the event itself say. end gets what
// kept the step from being stored, if anything did.
func (t *tracing) process(ctx context.Context, d *delivery) (_ context.Context, end func(error)) {
	ctx = otel.GetTextMapPropagator().Extract(ctx, ledger.HeaderCarrier(d.Header))
	if d.request.TraceParent != "" && !trace.SpanContextFromContext(ctx).IsValid() {
		// The CloudEvents extension for distributed tracing is W3C's, whatever OTEL_PROPAGATORS says of headers.
		ctx = propagation.TraceContext{}.Extract(ctx, ledger.HeaderCarrier{"traceparent": {d.request.TraceParent}, "tracestate": {d.request.TraceState}})
	}
	name := t.requested
	if d.due {
		name = t.due
	}
	ctx, span := t.tracer.Start(ctx, name, t.processing...)
	if !span.IsRecording() {
		return ctx, unrecorded
	}
	span.SetAttributes(semconv.MessagingDestinationName(d.Subject), semconv.MessagingMessageBodySize(len(d.Data)))
	return ctx, ended(span)
}

// request names the request in the span of its step.
func (t *tracing) request(ctx context.Context, r events.Request) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(semconv.MessagingMessageID(r.ID), semconv.CloudEventsEventID(r.ID), semconv.CloudEventsEventSource(r.Source))
	}
}

// templates are the subjects that a worker publishes on, without the target and ids.
var templates = map[string][2]string{
	"attempt": {"deletions.attempts.", ".{id}.{n}"}, "result": {"deletions.results.", ".{id}.{outcome}"}, "schedule": {"deletions.later.", ".{id}"},
}

// publish begins the span of storing an attempt, a result or a schedule on a subject.
func (t *tracing) publish(ctx context.Context, record, subject string) (context.Context, func(error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, unrecorded
	}
	template := templates[record][0] + string(t.target) + templates[record][1]
	ctx, span := t.tracer.Start(ctx, "send "+template, t.sending...)
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingDestinationName(subject), semconv.MessagingDestinationTemplate(template))
	}
	return ctx, ended(span)
}

// append begins the span of storing an attempt or a result, which then carries that
// span's context.
func (t *tracing) append(ctx context.Context, record string, r *ledger.Pending) (context.Context, func(error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, unrecorded
	}
	ctx, end := t.publish(ctx, record, r.Subject())
	r.SetTrace(ctx)
	return ctx, end
}

// appendAll is append for records that are stored together: a span for each whose step
// is recorded. stepOf is the context of a record's step.
func (t *tracing) appendAll(stepOf func(int) context.Context, record string, all []*ledger.Pending) (end func()) {
	var ends []func(error)
	for i, r := range all {
		ctx := stepOf(i)
		if !trace.SpanFromContext(ctx).IsRecording() {
			continue
		}
		if ends == nil {
			ends = slices.Repeat([]func(error){unrecorded}, len(all))
		}
		_, ends[i] = t.append(ctx, record, r)
	}
	if ends == nil {
		return unrecordedAll
	}
	return endedAll(ends, all)
}

func endedAll(ends []func(error), all []*ledger.Pending) func() {
	return func() {
		for i, end := range ends {
			if all[i].Stored {
				end(nil)
			} else {
				end(unconfirmedError{})
			}
		}
	}
}

// unconfirmedError is for a record that was published with others, and of which it is
// unknown whether it is stored.
type unconfirmedError struct{}

func (unconfirmedError) Error() string     { return "refused, or not acknowledged in time" }
func (unconfirmedError) ErrorType() string { return "unconfirmed" }

// settle begins the span of settling a message.
func (t *tracing) settle(ctx context.Context, how, subject string) (end func(error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return unrecorded
	}
	_, span := t.tracer.Start(ctx, how+" "+subject, t.settling...)
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingOperationName(how), semconv.MessagingDestinationName(subject))
	}
	return ended(span)
}

// unrecorded ends a span that was not begun, because the span of the step is not
// recorded.
func unrecorded(error) {}

func unrecordedAll() {}

func ended(span trace.Span) func(error) {
	return func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
			span.SetAttributes(semconv.ErrorType(err))
		}
		span.End()
	}
}

// call begins the span of a call that is made for several requests: a trace of
// its own, with a link to each of theirs that is recorded, and from each to it; none if
// none is. A call for one belongs to its trace.
func (t *tracing) call(ctx context.Context, jobs []*job) (context.Context, func()) {
	if len(jobs) == 1 {
		return jobs[0].ctx, unrecordedAll
	}
	var links []trace.Link
	for _, j := range jobs {
		if trace.SpanFromContext(j.ctx).IsRecording() {
			links = append(links, trace.LinkFromContext(j.ctx))
		}
	}
	if len(links) == 0 {
		return trace.ContextWithSpanContext(ctx, trace.SpanContextFromContext(jobs[0].ctx)), unrecordedAll
	}
	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	ctx, span := t.tracer.Start(ctx, "call for many", t.common, trace.WithLinks(links...), trace.WithAttributes(semconv.MessagingBatchMessageCount(len(jobs))))
	for _, j := range jobs {
		if of := trace.SpanFromContext(j.ctx); of.IsRecording() {
			of.AddLink(trace.Link{SpanContext: span.SpanContext()})
		}
	}
	return ctx, func() { span.End() }
}

// answered records the attempt and its answer in a request's span.
func (t *tracing) answered(ctx context.Context, attempt int, a deleter.Answer) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.Int("lethe.attempt", attempt), attribute.String("lethe.verdict", string(a.Verdict)), attribute.String("lethe.call.id", a.CallID))
	}
}

// outcome records a stored result in the span of its step. A request that failed is an
// error; e is the one that its result reports.
func (t *tracing) outcome(ctx context.Context, o events.Outcome, e *events.ResultError) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("lethe.outcome", string(o)))
	if o == events.Failed && e != nil {
		span.SetStatus(codes.Error, e.Message)
		span.SetAttributes(semconv.ErrorTypeKey.String(string(e.Code)))
	}
}
