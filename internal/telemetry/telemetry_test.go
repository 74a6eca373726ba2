package telemetry

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// stub is an OTLP/HTTP collector that stores what it receives.
type stub struct {
	*httptest.Server
	mu    sync.Mutex
	paths map[string]int
	spans []*tracepb.ResourceSpans
}

func newStub(t *testing.T) *stub {
	t.Helper()
	s := &stub{paths: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unzipped
		}
		raw, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.paths[r.URL.Path]++
		if r.URL.Path == "/v1/traces" {
			var request collector.ExportTraceServiceRequest
			if err := proto.Unmarshal(raw, &request); err != nil {
				t.Error(err)
			}
			s.spans = append(s.spans, request.ResourceSpans...)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	return s
}

// resource returns the attributes of the first resource received.
func (s *stub) resource(t *testing.T) map[string]string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.spans) == 0 {
		t.Fatal("no spans were received")
	}
	attributes := map[string]string{}
	for _, a := range s.spans[0].Resource.Attributes {
		attributes[a.Key] = a.Value.GetStringValue()
	}
	return attributes
}

func TestACollectorReceivesEverySignal(t *testing.T) {
	s := newStub(t)
	tel := setup(t, Config{ServiceVersion: "1.2.3", Instance: "here", Stderr: io.Discard}, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": s.URL})
	ctx, span := otel.Tracer("test").Start(t.Context(), "work")
	tel.Logger.InfoContext(ctx, "working")
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := s.resource(t)
	for key, want := range map[string]string{"service.name": "lethe", "service.version": "1.2.3", "service.instance.id": "here"} {
		if got[key] != want {
			t.Errorf("resource has %s %q, want %q", key, got[key], want)
		}
	}
	if name := s.spans[0].ScopeSpans[0].Spans[0].Name; name != "work" {
		t.Errorf("span %q, want work", name)
	}
	for _, path := range []string{"/v1/traces", "/v1/metrics", "/v1/logs"} {
		if s.paths[path] == 0 {
			t.Errorf("no request to %s", path)
		}
	}
}

func TestTheEndpointOfASignalExportsOnlyThatSignal(t *testing.T) {
	s := newStub(t)
	tel := setup(t, Config{Stderr: io.Discard}, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": s.URL + "/v1/traces"})
	_, span := otel.Tracer("test").Start(t.Context(), "work")
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"/v1/traces": 1}, s.paths); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestServiceNameFromTheEnvironment(t *testing.T) {
	tests := []struct {
		name     string
		env      map[string]string
		service  string
		instance string
	}{
		{"by its own variable", map[string]string{"OTEL_SERVICE_NAME": "other"}, "other", "here"},
		{"by an attribute", map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "service.name=third,service.instance.id=there"}, "third", "there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStub(t)
			tt.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = s.URL
			tel := setup(t, Config{Instance: "here", Stderr: io.Discard}, tt.env)
			_, span := otel.Tracer("test").Start(t.Context(), "work")
			span.End()
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := s.resource(t)
			if got["service.name"] != tt.service || got["service.instance.id"] != tt.instance {
				t.Errorf("resource %v, want service %q, instance %q", got, tt.service, tt.instance)
			}
		})
	}
}

func TestNothingIsDialledWithoutAnEndpoint(t *testing.T) {
	// The default addresses of the exporters. If a real collector uses these ports, the test proves nothing.
	var dialled sync.Map
	for _, addr := range []string{"localhost:4317", "localhost:4318"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Skipf("cannot watch %s: %v", addr, err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				dialled.Store(addr, true)
				_ = conn.Close()
			}
		}()
	}
	tests := []struct {
		name string
		env  map[string]string
	}{
		{"no variables", nil},
		{"empty variables", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_TRACES_EXPORTER": ""}},
		{"exporters set to none", map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}},
		{"the SDK disabled", map[string]string{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var logged logBuffer
			tel := setup(t, Config{Stderr: &logged, LogFormat: "json"}, tt.env)
			ctx, span := otel.Tracer("test").Start(t.Context(), "work")
			tel.Logger.InfoContext(ctx, "working")
			span.End()
			if span.IsRecording() {
				t.Error("the span is recorded, although nothing exports it")
			}
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			dialled.Range(func(addr, _ any) bool { t.Errorf("%v was dialled", addr); return true })
			if !strings.Contains(logged.String(), `"msg":"working"`) {
				t.Errorf("the log is lost: %q", logged.String())
			}
		})
	}
}

func TestAFailingCollectorGivesOneWarningAndBlocksNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	for name, url := range map[string]string{"down": down, "slow": slow.URL} {
		t.Run(name, func(t *testing.T) {
			var logged logBuffer
			tel := setup(t, Config{Stderr: &logged, LogFormat: "json"}, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": url,
				"OTEL_EXPORTER_OTLP_TIMEOUT":  "50", // milliseconds
				"OTEL_BSP_SCHEDULE_DELAY":     "10",
				"OTEL_BLRP_SCHEDULE_DELAY":    "10",
				"OTEL_METRIC_EXPORT_INTERVAL": "10",
				"OTEL_BSP_EXPORT_TIMEOUT":     "50", // of all tries
				"OTEL_BLRP_EXPORT_TIMEOUT":    "50",
				"OTEL_METRIC_EXPORT_TIMEOUT":  "50",
			})
			failures := func() int {
				h := otel.GetErrorHandler().(*errorHandler)
				h.mu.Lock()
				defer h.mu.Unlock()
				return h.suppressed
			}
			work := func() {
				ctx, span := otel.Tracer("test").Start(t.Context(), "work")
				tel.Logger.InfoContext(ctx, "working")
				span.End()
			}
			for deadline := time.Now().Add(20 * time.Second); failures() < 5; {
				if time.Now().After(deadline) {
					t.Fatalf("only %d failures after the first", failures())
				}
				work()
				time.Sleep(5 * time.Millisecond)
			}
			if n := strings.Count(logged.String(), "telemetry cannot be exported"); n != 1 {
				t.Errorf("%d warnings, want 1: %s", n, logged.String())
			}
			heap := func() uint64 {
				runtime.GC()
				var stats runtime.MemStats
				runtime.ReadMemStats(&stats)
				return stats.HeapAlloc
			}
			before := heap()
			for range 20_000 { // tens of megabytes if the queue were unbounded
				work()
			}
			if after := heap(); after > before+16<<20+uint64(len(logged.String())) {
				t.Errorf("%d bytes of memory became %d", before, after)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if err := tel.Shutdown(ctx); err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("Shutdown() = %v, want one line that names what is lost", err)
			}
		})
	}
}

func TestShutdownReturnsWhenItsContextEnds(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	tel := setup(t, Config{Stderr: io.Discard}, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": silent.URL})
	_, span := otel.Tracer("test").Start(t.Context(), "work")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tel.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown() = %v, want context.DeadlineExceeded", err)
	}
}

func TestMetricsAreServedForPrometheus(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want []string
	}{
		{"with no exporter", nil, []string{"things_total{kind=\"big\"} 3", "go_goroutine_count ", `service_name="lethe"`}},
		{"with the SDK disabled it is empty", map[string]string{"OTEL_SDK_DISABLED": "true"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tel := setup(t, Config{Stderr: io.Discard}, tt.env)
			count, err := otel.GetMeterProvider().Meter("test").Int64Counter("things")
			if err != nil {
				t.Fatal(err)
			}
			count.Add(t.Context(), 3, kind("big"))
			page := httptest.NewRecorder()
			tel.MetricsHandler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			if page.Code != http.StatusOK || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/plain") {
				t.Errorf("status %d, type %q", page.Code, page.Header().Get("Content-Type"))
			}
			for _, want := range tt.want {
				if !strings.Contains(page.Body.String(), want) {
					t.Errorf("no %q in\n%s", want, page.Body.String())
				}
			}
			if tt.want == nil && page.Body.Len() != 0 {
				t.Errorf("not empty:\n%s", page.Body.String())
			}
		})
	}
}

func TestTheTraceContextIsW3C(t *testing.T) {
	setup(t, Config{Stderr: io.Discard}, nil)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	carrier := propagation.MapCarrier{"traceparent": parent, "tracestate": "a=b", "baggage": "c=d"}
	ctx := otel.GetTextMapPropagator().Extract(t.Context(), carrier)
	out := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, out)
	if diff := cmp.Diff(carrier, out); diff != "" {
		t.Errorf("(-in +out):\n%s", diff)
	}
}

func TestWrongVariablesAreNamedAndIgnored(t *testing.T) {
	const key = "s3cret-hush"
	tests := []struct{ name, value string }{
		{"OTEL_TRACES_EXPORTER", "zipkin-" + key},
		{"OTEL_METRICS_EXPORTER", "statsd"},
		{"OTEL_LOGS_EXPORTER", "paper"},
		{"OTEL_RESOURCE_ATTRIBUTES", key},
		{"OTEL_RESOURCE_ATTRIBUTES", "env=prod,"},
		{"OTEL_RESOURCE_ATTRIBUTES", "env=%zz" + key},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318/?api-key=" + key},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318?api-key=" + key},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "u:" + key + "@collector"},
		{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "ftp://u:" + key + "@collector"},
		{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://collector:" + key},
		{"OTEL_EXPORTER_OTLP_HEADERS", "api-key:" + key},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/" + key},
		{"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/where/" + key},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"},
		{"OTEL_BSP_SCHEDULE_DELAY", "soon"},
		{"OTEL_TRACES_SAMPLER", "sometimes"},
		{"OTEL_TRACES_SAMPLER_ARG", "2"},
		{"OTEL_PROPAGATORS", "b3,smoke-signals"},
		{"OTEL_SDK_DISABLED", "maybe"},
	}
	s := newStub(t)
	for _, tt := range tests {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			env := map[string]string{
				"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": s.URL, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": s.URL, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": s.URL,
			}
			env[tt.name] = tt.value
			var logged logBuffer
			tel := setup(t, Config{Stderr: &logged, LogFormat: "json"}, env)
			_, span := otel.Tracer("test").Start(t.Context(), "work")
			span.End()
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Errorf("it is not ignored: %v", err)
			}
			want := `"level":"WARN","msg":"invalid OpenTelemetry setting ignored","variable":"` + tt.name + `","reason":"must be `
			if !strings.Contains(logged.String(), want) {
				t.Errorf("no warning like %s in %s", want, logged.String())
			}
			if strings.Contains(logged.String(), "hush") {
				t.Errorf("the key is shown: %s", logged.String())
			}
		})
	}
}

func TestASignalWithAWrongEndpointIsNotExported(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"of all signals": {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
		"of its own":     {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector:4318"},
		"explicit":       {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318", "OTEL_TRACES_EXPORTER": "otlp"},
	} {
		t.Run(name, func(t *testing.T) {
			setup(t, Config{Stderr: io.Discard}, env)
			_, span := otel.Tracer("test").Start(t.Context(), "work")
			defer span.End()
			if span.IsRecording() {
				t.Error("the span is recorded, although nothing exports it")
			}
		})
	}
}

func TestPropagatorsFromTheEnvironment(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for value, want := range map[string][]string{
		"":                       {"traceparent"},
		"b3":                     {"b3"},
		" b3multi , baggage":     {"x-b3-traceid", "x-b3-spanid", "x-b3-sampled"},
		"tracecontext,jaeger":    {"traceparent", "uber-trace-id"},
		"none":                   {},
		"smoke-signals":          {"traceparent"},
		"smoke-signals,b3":       {"b3"},
		"tracecontext,smoke":     {"traceparent"},
		"tracecontext , baggage": {"traceparent"},
	} {
		t.Run(value, func(t *testing.T) {
			setup(t, Config{Stderr: io.Discard}, map[string]string{"OTEL_PROPAGATORS": value})
			ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": parent})
			out := propagation.MapCarrier{}
			otel.GetTextMapPropagator().Inject(ctx, out)
			var got []string
			for name := range out {
				got = append(got, strings.ToLower(name))
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConsoleExportersWriteToStderr(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = write
	defer func() { os.Stdout = stdout }()
	var logged logBuffer
	tel := setup(t, Config{Stderr: &logged, LogFormat: "json"}, map[string]string{
		"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console", "OTEL_LOGS_EXPORTER": "console",
	})
	ctx, span := otel.Tracer("test").Start(t.Context(), "some work")
	tel.Logger.InfoContext(ctx, "working")
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	_ = write.Close()
	if records, err := io.ReadAll(read); err != nil || len(records) > 0 {
		t.Errorf("on standard output: %s, %v", records, err)
	}
	for _, want := range []string{`"Name":"some work"`, `"ScopeMetrics"`, `"SeverityText"`} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("no %s in %s", want, logged.String())
		}
	}
}
