// Package telemetry sets up OpenTelemetry and slog, once, for the whole process.
//
// Its one idea: telemetry never stands in the way of a deletion. With no OTEL_* endpoint or exporter set, nothing
// is dialled and a span costs next to nothing, yet the trace context of a request still travels on. With a
// collector that is down or slow, queues stay bounded, one warning is logged, and the end of the process waits no
// longer than it is told to.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Config is what telemetry needs to know that no OTEL_* variable says.
type Config struct {
	// ServiceVersion and Instance become the resource's service.version and service.instance.id; empty ones are
	// left out.
	ServiceVersion, Instance string
	// LogLevel is the least level that is logged.
	LogLevel slog.Level
	// LogFormat is "text" or "json"; empty means text where Stderr is a terminal, and json elsewhere.
	LogFormat string
	// Stderr takes the log; nil is os.Stderr.
	Stderr io.Writer
}

// Telemetry is what Setup made. OpenTelemetry's globals and slog's default are set as well.
type Telemetry struct {
	// Logger writes to Config.Stderr and, where a log exporter is configured, to that too.
	Logger *slog.Logger

	metrics   *prometheus.Registry
	shutdowns []func(context.Context) error
}

// Setup sets telemetry up from c and the OTEL_* variables. A variable that cannot be used is a warning that names it and
// shows nothing of it, and counts as not set. The console exporters write to Config.Stderr: standard output is for
// records.
//
// A signal is exported where OTEL_<SIGNAL>_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT is set. OTEL_SDK_DISABLED=true switches everything off but the log, the
// trace context's way through, and an empty page of metrics.
func Setup(ctx context.Context, c Config) (*Telemetry, error) {
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	local := newLocalHandler(c)
	t := &Telemetry{Logger: slog.New(&handler{local: local, level: c.LogLevel}), metrics: prometheus.NewRegistry()}

	// All write to the local log alone: a report about an exporter must not go through one.
	localLog := t.Logger
	warn := func(variable, reason string) {
		localLog.Warn("OpenTelemetry setting is ignored", "variable", variable, "reason", reason)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { warn(namesSet(), oneLine(err)) }))
	otel.SetLogger(logr.FromSlogHandler(discreet{local}))
	defer otel.SetErrorHandler(&errorHandler{log: localLog})

	env := cleanEnvironment(warn)
	otel.SetTextMapPropagator(autoprop.NewTextMapPropagator())
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		otel.SetTracerProvider(tracenoop.NewTracerProvider())
		otel.SetMeterProvider(metricnoop.NewMeterProvider())
		slog.SetDefault(t.Logger)
		return t, nil
	}
	res, err := newResource(ctx, c)
	if err != nil {
		warn(namesSet(), oneLine(err))
	}
	exporters := exporters{env: env, console: c.Stderr, warn: warn}
	t.setupTraces(exporters.spans(ctx), res)
	if err := t.setupMetrics(exporters.metrics(ctx), res); err != nil {
		_ = t.Shutdown(ctx) // nothing was recorded yet
		return nil, err
	}
	t.setupLogs(exporters.logs(ctx), res)
	slog.SetDefault(t.Logger)
	return t, nil
}

// MetricsHandler serves all metrics in the Prometheus text format, whatever else they are exported to.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.metrics, promhttp.HandlerOpts{})
}

// Shutdown sends what is still queued and ends all exporters. It returns when ctx ends, at the latest; what could
// not be sent by then is lost, and the error says so.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	done := make(chan error, len(t.shutdowns))
	for _, shutdown := range t.shutdowns {
		go func() { done <- shutdown(ctx) }()
	}
	var first error
	for range t.shutdowns {
		select {
		case err := <-done:
			if first == nil {
				first = err
			}
		case <-ctx.Done():
			return fmt.Errorf("telemetry that was not sent in time is lost: %w", ctx.Err())
		}
	}
	if first != nil {
		return fmt.Errorf("telemetry that could not be sent is lost: %s", oneLine(first))
	}
	return nil
}

func (t *Telemetry) setupTraces(exporter trace.SpanExporter, res *resource.Resource) {
	if exporter == nil {
		otel.SetTracerProvider(newTransit())
		return
	}
	provider := trace.NewTracerProvider(trace.WithResource(res), trace.WithBatcher(exporter))
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	otel.SetTracerProvider(provider)
}

func (t *Telemetry) setupMetrics(reader metric.Reader, res *resource.Resource) error {
	scrape, err := promexporter.New(promexporter.WithRegisterer(t.metrics), promexporter.WithoutScopeInfo())
	if err != nil {
		return fmt.Errorf("metrics for Prometheus: %w", err)
	}
	options := []metric.Option{metric.WithResource(res), metric.WithReader(scrape)}
	if reader != nil {
		options = append(options, metric.WithReader(reader))
	}
	provider := metric.NewMeterProvider(options...)
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	otel.SetMeterProvider(provider)
	if err := runtime.Start(runtime.WithMeterProvider(provider)); err != nil {
		return fmt.Errorf("metrics of the Go runtime: %w", err)
	}
	return nil
}

func (t *Telemetry) setupLogs(exporter sdklog.Exporter, res *resource.Resource) {
	if exporter == nil {
		return
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithResource(res), sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)))
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	t.Logger = exportTo(provider, t.Logger)
}

// newResource describes this process, as far as it can beside an error. What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes last and wins.
func newResource(ctx context.Context, c Config) (*resource.Resource, error) {
	own := []resource.Option{resource.WithTelemetrySDK(), resource.WithAttributes(semconv.ServiceName("lethe"))}
	if c.ServiceVersion != "" {
		own = append(own, resource.WithAttributes(semconv.ServiceVersion(c.ServiceVersion)))
	}
	if c.Instance != "" {
		own = append(own, resource.WithAttributes(semconv.ServiceInstanceID(c.Instance)))
	}
	return resource.New(ctx, append(own, resource.WithFromEnv())...)
}
