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
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
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

// Setup sets telemetry up from c and the OTEL_* variables. An error is one line that names the variable.
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

	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	// Both write to the local log alone: a report about an exporter must not go through one.
	otel.SetErrorHandler(&errorHandler{log: t.Logger})
	otel.SetLogger(logr.FromSlogHandler(discreet{local}))

	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		otel.SetTracerProvider(tracenoop.NewTracerProvider())
		otel.SetMeterProvider(metricnoop.NewMeterProvider())
		slog.SetDefault(t.Logger)
		return t, nil
	}
	res, err := newResource(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, setup := range []func(context.Context, *resource.Resource) error{t.setupTraces, t.setupMetrics, t.setupLogs} {
		if err := setup(ctx, res); err != nil {
			_ = t.Shutdown(ctx) // nothing was recorded yet
			return nil, err
		}
	}
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

func (t *Telemetry) setupTraces(ctx context.Context, res *resource.Resource) error {
	if !exported("TRACES") {
		otel.SetTracerProvider(newTransit())
		return nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return fmt.Errorf("OTEL_TRACES_EXPORTER: %s", oneLine(err))
	}
	if autoexport.IsNoneSpanExporter(exporter) {
		otel.SetTracerProvider(newTransit())
		return nil
	}
	provider := trace.NewTracerProvider(trace.WithResource(res), trace.WithBatcher(exporter))
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	otel.SetTracerProvider(provider)
	return nil
}

func (t *Telemetry) setupMetrics(ctx context.Context, res *resource.Resource) error {
	scrape, err := promexporter.New(promexporter.WithRegisterer(t.metrics), promexporter.WithoutScopeInfo())
	if err != nil {
		return fmt.Errorf("metrics for Prometheus: %w", err)
	}
	options := []metric.Option{metric.WithResource(res), metric.WithReader(scrape)}
	if exported("METRICS") {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return fmt.Errorf("OTEL_METRICS_EXPORTER: %s", oneLine(err))
		}
		if !autoexport.IsNoneMetricReader(reader) {
			options = append(options, metric.WithReader(reader))
		}
	}
	provider := metric.NewMeterProvider(options...)
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	otel.SetMeterProvider(provider)
	if err := runtime.Start(runtime.WithMeterProvider(provider)); err != nil {
		return fmt.Errorf("metrics of the Go runtime: %w", err)
	}
	return nil
}

func (t *Telemetry) setupLogs(ctx context.Context, res *resource.Resource) error {
	if !exported("LOGS") {
		return nil
	}
	exporter, err := autoexport.NewLogExporter(ctx)
	if err != nil {
		return fmt.Errorf("OTEL_LOGS_EXPORTER: %s", oneLine(err))
	}
	if autoexport.IsNoneLogExporter(exporter) {
		return nil
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithResource(res), sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)))
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	t.Logger = exportTo(provider, t.Logger)
	return nil
}

// exported says whether the operator asked for a signal. Without this the OTLP exporters would dial localhost.
func exported(signal string) bool {
	return os.Getenv("OTEL_"+signal+"_EXPORTER") != "" ||
		os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" ||
		os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

// newResource describes this process. What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes last and wins.
func newResource(ctx context.Context, c Config) (*resource.Resource, error) {
	own := []resource.Option{resource.WithTelemetrySDK(), resource.WithAttributes(semconv.ServiceName("lethe"))}
	if c.ServiceVersion != "" {
		own = append(own, resource.WithAttributes(semconv.ServiceVersion(c.ServiceVersion)))
	}
	if c.Instance != "" {
		own = append(own, resource.WithAttributes(semconv.ServiceInstanceID(c.Instance)))
	}
	res, err := resource.New(ctx, append(own, resource.WithFromEnv())...)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %s", oneLine(err))
	}
	return res, nil
}
