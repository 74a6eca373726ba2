package telemetry

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	api "go.opentelemetry.io/otel/trace"
)

func TestLogRecords(t *testing.T) {
	inSpan := api.ContextWithRemoteSpanContext(t.Context(), remote())

	t.Run("json contains the ids of the span", func(t *testing.T) {
		var logged logBuffer
		setup(t, Config{Stderr: &logged}, nil).Logger.With("lane", "kv").InfoContext(inSpan, "working", "n", 1)
		var got map[string]any
		if err := json.Unmarshal([]byte(logged.String()), &got); err != nil {
			t.Fatal(err)
		}
		delete(got, "time")
		want := map[string]any{"level": "INFO", "msg": "working", "lane": "kv", "n": 1.0,
			"trace_id": "01000000000000000000000000000000", "span_id": "0200000000000000"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("text contains them too, and no colour without a terminal", func(t *testing.T) {
		var logged logBuffer
		setup(t, Config{Stderr: &logged, LogFormat: "text"}, nil).Logger.InfoContext(inSpan, "working")
		if got := logged.String(); !strings.Contains(got, "working trace_id=01000000000000000000000000000000 span_id=0200000000000000") || strings.Contains(got, "\x1b") {
			t.Errorf("logged %q", got)
		}
	})
	t.Run("no span, no ids", func(t *testing.T) {
		var logged logBuffer
		setup(t, Config{Stderr: &logged}, nil).Logger.Info("working")
		if strings.Contains(logged.String(), "trace_id") {
			t.Errorf("logged %q", logged.String())
		}
	})
	for _, format := range []string{"json", "text"} {
		t.Run("a library's prefix is not repeated in an error, "+format, func(t *testing.T) {
			var logged logBuffer
			setup(t, Config{Stderr: &logged, LogFormat: format}, nil).Logger.Warn("failed", "error", errors.New("nats: nats: nats: API error"))
			if got := logged.String(); strings.Count(got, "nats:") != 1 || !strings.Contains(got, "nats: API error") {
				t.Errorf("logged %q", got)
			}
		})
	}
	t.Run("a file is not a terminal", func(t *testing.T) {
		f, err := os.CreateTemp(t.TempDir(), "log")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		setup(t, Config{Stderr: f}, nil).Logger.Info("working")
		if raw, err := os.ReadFile(f.Name()); err != nil || !json.Valid(raw) {
			t.Errorf("logged %q, error %v, want json", raw, err)
		}
	})
	t.Run("the level applies to the exporter too", func(t *testing.T) {
		var logged logBuffer
		s := newStub(t)
		tel := setup(t, Config{Stderr: &logged, LogLevel: slog.LevelWarn}, map[string]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": s.URL + "/v1/logs"})
		tel.Logger.Info("quiet")
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if logged.String() != "" || len(s.paths) != 0 {
			t.Errorf("logged %q, exported %v", logged.String(), s.paths)
		}
	})
	t.Run("slog's default logger writes to the same log", func(t *testing.T) {
		var logged logBuffer
		setup(t, Config{Stderr: &logged}, nil)
		slog.InfoContext(inSpan, "working")
		if !strings.Contains(logged.String(), `"trace_id"`) {
			t.Errorf("logged %q", logged.String())
		}
	})
}

func TestOneWarningInTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged logBuffer
		h := &errorHandler{log: slog.New(slog.NewTextHandler(&logged, nil))}
		warnings := func() int { return strings.Count(logged.String(), "telemetry cannot be exported") }
		long := errors.New("line one\nline two" + strings.Repeat("x", 10_000))
		for range 100 {
			h.Handle(long)
			time.Sleep(time.Second)
		}
		if warnings() != 1 {
			t.Errorf("%d warnings in 100 seconds, want 1", warnings())
		}
		if len(logged.String()) > 1000 {
			t.Errorf("the warning is %d bytes long", len(logged.String()))
		}
		time.Sleep(warnEvery)
		h.Handle(long)
		if warnings() != 2 || !strings.Contains(logged.String(), "suppressed=99") {
			t.Errorf("logged %s, want a second warning that counts the others", logged.String())
		}
		h.Handle(nil)
	})
}

func TestOpenTelemetryErrorsAreLogged(t *testing.T) {
	var logged logBuffer
	setup(t, Config{Stderr: &logged}, nil)
	otel.Handle(errors.New("some failure"))
	if !strings.Contains(logged.String(), "some failure") {
		t.Errorf("logged %q", logged.String())
	}
}

func BenchmarkLogInASpan(b *testing.B) {
	tel := &Telemetry{Logger: slog.New(&handler{local: newLocalHandler(Config{Stderr: io.Discard})})}
	ctx := api.ContextWithRemoteSpanContext(b.Context(), remote())
	b.ReportAllocs()
	for b.Loop() {
		tel.Logger.InfoContext(ctx, "working", "lane", "kv")
	}
}
