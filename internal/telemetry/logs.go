package telemetry

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/term"

	"github.com/lethe-dev/lethe/internal/text"
)

// handler writes records to the local log, with the ids of the context's span, and to the log exporter if there is one,
// which finds the span itself. The ids would be inside an open group, but Lethe opens none.
type handler struct {
	local    slog.Handler
	exporter slog.Handler // nil: none
	level    slog.Level
}

// Enabled applies the level to both; the exporter has none.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if h.exporter != nil {
		// It only adds the record to a bounded queue.
		_ = h.exporter.Handle(ctx, r.Clone())
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.local.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

func (h *handler) WithGroup(name string) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *handler) with(change func(slog.Handler) slog.Handler) *handler {
	changed := &handler{local: change(h.local), level: h.level}
	if h.exporter != nil {
		changed.exporter = change(h.exporter)
	}
	return changed
}

// newLocalHandler returns a handler for text or json.
func newLocalHandler(c Config) slog.Handler {
	terminal := isTerminal(c.Stderr)
	if c.LogFormat == "json" || c.LogFormat == "" && !terminal {
		return slog.NewJSONHandler(c.Stderr, &slog.HandlerOptions{Level: c.LogLevel, ReplaceAttr: plainError})
	}
	return tint.NewTextHandler(c.Stderr, &tint.Options{
		Level:       c.LogLevel,
		ReplaceAttr: plainError,
		TimeFormat:  "15:04:05.000",
		NoColor:     !terminal || os.Getenv("NO_COLOR") != "", // https://no-color.org
	})
}

// plainError formats errors with [text.Error].
func plainError(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		a.Value = slog.StringValue(text.Error(err))
	}
	return a
}

// exportTo adds an exporter to the logger created by Setup.
func exportTo(provider log.LoggerProvider, logger *slog.Logger) *slog.Logger {
	h := *logger.Handler().(*handler)
	h.exporter = otelslog.NewHandler("lethe", otelslog.WithLoggerProvider(provider))
	return slog.New(&h)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
