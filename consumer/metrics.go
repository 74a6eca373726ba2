package consumer

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

// metrics measures the results, retries and calls of a lane. docs/metrics.md lists the
// names. A measurement allocates nothing: the attributes of each are made beforehand.
type metrics struct {
	results, invalid, retries, late metric.Int64Counter
	duration                        metric.Float64Histogram
	callRequests                    metric.Int64Histogram

	target    options
	byOutcome map[events.Outcome]options
	byCode    map[events.Code]options
	byVerdict map[deleter.Verdict]options
	byStatus  statusOptions
}

const scope = "github.com/lethe-dev/lethe/consumer"

// options are the attributes of a measurement.
type options struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func newOptions(attributes ...attribute.KeyValue) options {
	set := metric.WithAttributeSet(attribute.NewSet(attributes...))
	return options{[]metric.AddOption{set}, []metric.RecordOption{set}}
}

// durations are the bounds of lethe.request.duration, in seconds: from a call that
// answers at once to a confirmation that comes days later.
var durations = []float64{
	0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 26 * 3600, 48 * 3600, 7 * 24 * 3600,
}

func newMetrics(target events.Target) *metrics {
	meter := otel.Meter(scope)
	// The errors of these constructors are about names, which are constant here,
	// and the instruments that come with an error can be used all the same.
	counter := func(name, unit, description string) metric.Int64Counter {
		c, _ := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		return c
	}
	of := attribute.String("lethe.target", string(target))
	m := &metrics{
		results:   counter("lethe.results", "{result}", "Results stored."),
		invalid:   counter("lethe.invalid", "{request}", "Requests answered as invalid."),
		retries:   counter("lethe.retries", "{retry}", "Retries scheduled, by the status of the answer before; without a status if no answer came."),
		late:      counter("lethe.confirmations.late", "{confirmation}", "Confirmations that found an accepted deletion unfinished."),
		target:    newOptions(of),
		byOutcome: map[events.Outcome]options{}, byCode: map[events.Code]options{}, byVerdict: map[deleter.Verdict]options{},
		byStatus: statusOptions{target: of, known: map[int]options{}},
	}
	m.duration, _ = meter.Float64Histogram("lethe.request.duration", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(durations...),
		metric.WithDescription("Time from when a request was stored until its final result was."))
	m.callRequests, _ = meter.Int64Histogram("lethe.call.requests", metric.WithUnit("{request}"), metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100),
		metric.WithDescription("Requests that share a call, for each call and the verdict on its answer."))
	for _, o := range events.Outcomes() {
		m.byOutcome[o] = newOptions(of, attribute.String("lethe.outcome", string(o)))
	}
	for _, code := range events.Codes() {
		m.byCode[code] = newOptions(of, semconv.ErrorTypeKey.String(string(code)))
	}
	for _, v := range deleter.Verdicts() {
		m.byVerdict[v] = newOptions(of, attribute.String("lethe.verdict", string(v)))
	}
	m.begin()
	return m
}

// begin makes each counter visible as 0: an alert sees no increase in a series that did
// not exist before.
func (m *metrics) begin() {
	ctx := context.Background()
	for _, o := range m.byOutcome {
		m.results.Add(ctx, 0, o.add...)
	}
	for code, o := range m.byCode {
		if code.Outcome() == events.Invalid {
			m.invalid.Add(ctx, 0, o.add...)
		}
	}
	m.late.Add(ctx, 0, m.target.add...)
}

// call counts a call that was made for some requests.
func (m *metrics) call(a deleter.Answer, requests int) {
	m.callRequests.Record(context.Background(), int64(requests), m.byVerdict[a.Verdict].record...)
}

// decided counts a retry or a late confirmation. again: the request will be called for
// again. confirming: the API had accepted its deletion before.
func (m *metrics) decided(a deleter.Answer, again, confirming bool) {
	switch {
	case a.Verdict == deleter.AcceptedPending && confirming:
		m.late.Add(context.Background(), 1, m.target.add...)
	case again:
		m.retries.Add(context.Background(), 1, m.byStatus.get(a.Status).add...)
	}
}

// result counts a result that is stored. The request was stored at a time, zero if that
// is unknown. The duration takes the trace in ctx as an exemplar.
func (m *metrics) result(ctx context.Context, o events.Outcome, e *events.ResultError, stored, now time.Time) {
	m.results.Add(context.Background(), 1, m.byOutcome[o].add...)
	if o == events.Invalid && e != nil {
		m.invalid.Add(context.Background(), 1, m.byCode[e.Code].add...)
	}
	if o.Final() && !stored.IsZero() {
		m.duration.Record(ctx, max(now.Sub(stored), 0).Seconds(), m.byOutcome[o].record...)
	}
}

// statusOptions are the attributes for each status of an API. A status that HTTP does not
// define counts as none: an API must not be able to create any number of series.
type statusOptions struct {
	target attribute.KeyValue

	mu    sync.Mutex
	known map[int]options
}

func (s *statusOptions) get(status int) options {
	if http.StatusText(status) == "" {
		status = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, known := s.known[status]
	switch {
	case known:
		return o
	case status == 0:
		o = newOptions(s.target)
	default:
		o = newOptions(s.target, semconv.HTTPResponseStatusCode(status))
	}
	s.known[status] = o
	return o
}
