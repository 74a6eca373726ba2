// Package telemetry sets up OpenTelemetry and slog for the whole process.
//
// Telemetry must never delay or stop a deletion. Without an OTEL_* endpoint or exporter, Lethe dials nothing and a span
// is cheap, but the trace context of a request is still propagated. If a collector is down or slow, queues stay bounded,
// warnings are limited, and shutdown does not exceed its timeout.
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

// Config contains the settings that have no OTEL_* variable.
type Config struct {
	// ServiceVersion and Instance are the resource's service.version and service.instance.id. Empty ones are omitted.
	ServiceVersion, Instance string
	// LogLevel is the minimum level that is logged.
	LogLevel slog.Level
	// LogFormat is "text" or "json". Empty means text if Stderr is a terminal, else json.
	LogFormat string
	// Stderr receives the log. nil means os.Stderr.
	Stderr io.Writer
	// LeaveRoots begins no trace while no spans are exported: the reader of a message without one begins it, and may
	// export it. It would not record a trace that began here, unsampled.
	LeaveRoots bool
}

// Telemetry is the result of Setup, which also sets OpenTelemetry's globals and slog's default logger.
type Telemetry struct {
	// Logger writes to Config.Stderr and to the log exporter if one is configured.
	Logger *slog.Logger

	metrics   *prometheus.Registry
	shutdowns []func(context.Context) error
}

// Setup sets up telemetry from c and the OTEL_* variables. An invalid variable is ignored with a warning that names it
// but does not show its value. The console exporters write to Config.Stderr, because standard output is for records.
//
// A signal is exported where OTEL_<SIGNAL>_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT is set. OTEL_SDK_DISABLED=true disables everything but the log, the propagation of
// the trace context, and an empty page of metrics.
func Setup(ctx context.Context, c Config) (*Telemetry, error) {
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	local := newLocalHandler(c)
	t := &Telemetry{Logger: slog.New(&handler{local: local, level: c.LogLevel}), metrics: prometheus.NewRegistry()}

	// Errors of exporters go only to the local log, never to an exporter.
	localLog := t.Logger
	warn := func(variable, reason string) {
		localLog.Warn("invalid OpenTelemetry setting ignored", "variable", variable, "reason", reason)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { warn(namesSet(), oneLine(err)) }))
	otel.SetLogger(logr.FromSlogHandler(redactingHandler{local}))
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
	t.setupTraces(exporters.spans(ctx), res, c.LeaveRoots)
	if err := t.setupMetrics(exporters.metrics(ctx), res); err != nil {
		_ = t.Shutdown(ctx) // nothing is recorded yet
		return nil, err
	}
	t.setupLogs(exporters.logs(ctx), res)
	slog.SetDefault(t.Logger)
	return t, nil
}

// MetricsHandler serves all metrics for Prometheus, also if they are exported elsewhere: in the OpenMetrics format, which
// has exemplars, if the client accepts it, else in Prometheus' own.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.metrics, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Shutdown sends queued telemetry and stops all exporters. It returns when ctx ends, at the latest. If telemetry is lost,
// it returns an error.
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
			return fmt.Errorf("telemetry was not sent in time: %w", ctx.Err())
		}
	}
	if first != nil {
		return fmt.Errorf("telemetry could not be sent: %s", oneLine(first))
	}
	return nil
}

func (t *Telemetry) setupTraces(exporter trace.SpanExporter, res *resource.Resource, leaveRoots bool) {
	switch {
	case exporter != nil:
	case leaveRoots:
		otel.SetTracerProvider(tracenoop.NewTracerProvider()) // it continues a trace unchanged
		return
	default:
		otel.SetTracerProvider(newPassthrough())
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

// newResource describes this process. With an error, the resource is incomplete but usable. OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES come last and take precedence.
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
