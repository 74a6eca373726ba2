package telemetry

import (
	"log/slog"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/internal/text"
)

// warnEvery is the least time between two warnings that telemetry cannot be sent.
const warnEvery = 10 * time.Minute

// errorHandler takes what OpenTelemetry reports while it runs: one failure for each batch, for as long as a
// collector is away. One warning stands for all of them.
type errorHandler struct {
	log *slog.Logger

	mu     sync.Mutex
	warned time.Time
	since  int // failures not told since then
}

// Handle is called by OpenTelemetry, from any goroutine.
func (h *errorHandler) Handle(err error) {
	if err == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.warned.IsZero() && time.Since(h.warned) < warnEvery {
		h.since++
		return
	}
	h.log.Warn("telemetry cannot be sent; deletions go on", "why", oneLine(err), "untold_before", h.since)
	h.warned, h.since = time.Now(), 0
}

// oneLine fits an error into one line of at most 512 bytes, without what is private: it may hold a collector's answer.
func oneLine(err error) string { return text.Line(private(err.Error()), 512) }
