package main

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/telemetry"
)

// withTracedClient is withClient for a command that publishes requests: it exports its
// spans, and propagates their context as the OTEL_* variables configure it.
func withTracedClient(cmd *cobra.Command, command string, do func(context.Context, *client) error, optional ...string) error {
	return withClient(cmd, command, func(ctx context.Context, c *client) error {
		tel, err := telemetry.Setup(ctx, telemetry.Config{
			ServiceVersion: buildVersion(), LogLevel: c.cfg.LogLevel, LogFormat: c.cfg.LogFormat, Stderr: cmd.ErrOrStderr(),
			LeaveRoots: true,
		})
		if err != nil {
			return usageError("%w", err)
		}
		defer flush(ctx, tel)
		return do(ctx, c)
	}, optional...)
}

// beginSend begins the span of publishing a request, and has msg carry its context: the
// worker continues this trace, and begins one if nothing is exported here. end gets the
// error of the publish.
func beginSend(ctx context.Context, msg *nats.Msg, id string) (end func(error)) {
	ctx, span := otel.Tracer("github.com/lethe-dev/lethe/cmd/lethe").Start(ctx, "send "+msg.Subject, trace.WithSpanKind(trace.SpanKindProducer))
	otel.GetTextMapPropagator().Inject(ctx, ledger.HeaderCarrier(msg.Header))
	if span.IsRecording() {
		span.SetAttributes(attribute.String("messaging.system", "nats"), semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"),
			semconv.MessagingDestinationName(msg.Subject), semconv.MessagingMessageID(id), semconv.MessagingMessageBodySize(len(msg.Data)))
	}
	return func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
			span.SetAttributes(semconv.ErrorType(err))
		}
		span.End()
	}
}
