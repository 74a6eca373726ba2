package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracespb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is an OTLP/HTTP collector that reads what it receives.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	metrics map[string]*metrics.Metric // the latest of each name
	spans   []*traces.Span
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{metrics: map[string]*metrics.Metric{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		raw, err := io.ReadAll(request.Body)
		if err == nil {
			err = r.read(request.URL.Path, raw)
		}
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

// settings make a process export to the receiver within milliseconds.
func (r *receiver) settings() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL, "OTEL_METRIC_EXPORT_INTERVAL=200", "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_BLRP_SCHEDULE_DELAY=50"}
}

func (r *receiver) read(path string, raw []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch path {
	case "/v1/metrics":
		var got metricspb.ExportMetricsServiceRequest
		if err := proto.Unmarshal(raw, &got); err != nil {
			return err
		}
		for _, resource := range got.ResourceMetrics {
			for _, scope := range resource.ScopeMetrics {
				for _, m := range scope.Metrics {
					r.metrics[m.Name] = m
				}
			}
		}
	case "/v1/traces":
		var got tracespb.ExportTraceServiceRequest
		if err := proto.Unmarshal(raw, &got); err != nil {
			return err
		}
		for _, resource := range got.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				r.spans = append(r.spans, scope.Spans...)
			}
		}
	default:
		return proto.Unmarshal(raw, &logspb.ExportLogsServiceRequest{})
	}
	return nil
}

func (r *receiver) metric(name string) *metrics.Metric {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.metrics[name]
}

func (r *receiver) names() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.metrics {
		names = append(names, name)
	}
	return names
}
