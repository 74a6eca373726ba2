package telemetry

import (
	"context"
	"io"
	"os"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutlog"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
)

// exporters creates the exporter of each signal, nil if it is not exported.
type exporters struct {
	env     *environment
	console io.Writer
	warn    func(variable, reason string)
}

func (e exporters) spans(ctx context.Context) trace.SpanExporter {
	return pick(e, "TRACES", func() (trace.SpanExporter, error) {
		return stdouttrace.New(stdouttrace.WithWriter(e.console))
	}, func() (trace.SpanExporter, bool, error) {
		exporter, err := autoexport.NewSpanExporter(ctx)
		return exporter, err == nil && autoexport.IsNoneSpanExporter(exporter), err
	})
}

func (e exporters) metrics(ctx context.Context) metric.Reader {
	return pick(e, "METRICS", func() (metric.Reader, error) {
		exporter, err := stdoutmetric.New(stdoutmetric.WithWriter(e.console))
		if err != nil {
			return nil, err
		}
		return metric.NewPeriodicReader(exporter), nil
	}, func() (metric.Reader, bool, error) {
		reader, err := autoexport.NewMetricReader(ctx)
		return reader, err == nil && autoexport.IsNoneMetricReader(reader), err
	})
}

func (e exporters) logs(ctx context.Context) sdklog.Exporter {
	return pick(e, "LOGS", func() (sdklog.Exporter, error) {
		return stdoutlog.New(stdoutlog.WithWriter(e.console))
	}, func() (sdklog.Exporter, bool, error) {
		exporter, err := autoexport.NewLogExporter(ctx)
		return exporter, err == nil && autoexport.IsNoneLogExporter(exporter), err
	})
}

// pick returns the console exporter of a signal, or the one that autoexport creates from the environment, if any.
func pick[T any](e exporters, signal string, console func() (T, error), auto func() (T, bool, error)) (exporter T) {
	if !e.env.exported(signal) {
		return exporter
	}
	var none bool
	var err error
	if os.Getenv("OTEL_"+signal+"_EXPORTER") == "console" {
		exporter, err = console()
	} else {
		exporter, none, err = auto()
	}
	if err != nil {
		e.warn(namesSet(), signal+": "+oneLine(err))
	}
	if err != nil || none {
		var nothing T
		return nothing
	}
	return exporter
}
