package deleter

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	nometric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"
	"go.opentelemetry.io/otel/trace"
)

// metricsTransport is a transport that measures how long each call takes until its answer
// begins (http.client.request.duration of the semantic conventions), and has
// otelhttp make a span where one is recorded. otelhttp could measure, too, but it
// builds the attributes for each call, which is a tenth of a call's cost.
type metricsTransport struct {
	plain, traced http.RoundTripper
	duration      httpconv.ClientRequestDuration

	attributes sync.Map // an [attribute.Set] for each status, 0 where there is none
}

func newMetricsTransport(plain http.RoundTripper) *metricsTransport {
	// The error is about names, which are constant, and the instrument can be used with it.
	duration, _ := httpconv.NewClientRequestDuration(otel.Meter("github.com/lethe-dev/lethe/deleter"))
	return &metricsTransport{
		plain: plain,
		traced: otelhttp.NewTransport(resendTransport{plain},
			// The APIs belong to others: they get no trace ids of ours.
			otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator()),
			otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method }),
			otelhttp.WithMeterProvider(nometric.NewMeterProvider())),
		duration: duration,
	}
}

// RoundTrip makes one call.
func (m *metricsTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	transport := m.plain
	if span := trace.SpanFromContext(r.Context()); span.IsRecording() || !span.SpanContext().IsValid() {
		transport = m.traced
	}
	begun := time.Now()
	response, err := transport.RoundTrip(r)
	status := 0
	if err == nil {
		status = response.StatusCode
	}
	m.duration.RecordSet(r.Context(), time.Since(begun).Seconds(), m.attributesOf(r, status))
	return response, err
}

// resendCount is the key of how often a call was sent before, in its context.
type resendCount struct{}

// resendTransport records in the span of a call how often it was sent before.
type resendTransport struct{ http.RoundTripper }

// RoundTrip makes one call.
func (t resendTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if n, again := r.Context().Value(resendCount{}).(int); again {
		trace.SpanFromContext(r.Context()).SetAttributes(semconv.HTTPRequestResendCount(n))
	}
	return t.RoundTripper.RoundTrip(r)
}

// attributesOf describes calls with a status. All calls to one API have one method.
func (m *metricsTransport) attributesOf(r *http.Request, status int) attribute.Set {
	if set, known := m.attributes.Load(status); known {
		return set.(attribute.Set)
	}
	port, err := strconv.Atoi(r.URL.Port())
	if err != nil {
		port = map[string]int{"http": 80, "https": 443}[r.URL.Scheme]
	}
	attributes := []attribute.KeyValue{
		attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname()), attribute.Int("server.port", port),
	}
	switch {
	case status == 0:
		attributes = append(attributes, m.duration.AttrErrorType(httpconv.ErrorTypeOther))
	case status >= 400:
		attributes = append(attributes, m.duration.AttrErrorType(httpconv.ErrorTypeAttr(strconv.Itoa(status))))
		fallthrough
	default:
		attributes = append(attributes, m.duration.AttrResponseStatusCode(status))
	}
	set := attribute.NewSet(attributes...)
	m.attributes.Store(status, set)
	return set
}
