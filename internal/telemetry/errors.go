package telemetry

import (
	"log/slog"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/internal/text"
)

// warnEvery is the minimum time between two warnings about failed exports.
const warnEvery = 10 * time.Minute

// errorHandler receives OpenTelemetry's errors. While a collector is down there is one for each batch, so it logs only
// some of them.
type errorHandler struct {
	log *slog.Logger

	mu         sync.Mutex
	warned     time.Time
	suppressed int // failures since then, not logged
}

// Handle is called by OpenTelemetry, from any goroutine.
func (h *errorHandler) Handle(err error) {
	if err == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.warned.IsZero() && time.Since(h.warned) < warnEvery {
		h.suppressed++
		return
	}
	h.log.Warn("telemetry cannot be exported; deletions are not affected", "reason", oneLine(err), "suppressed", h.suppressed)
	h.warned, h.suppressed = time.Now(), 0
}

// oneLine returns an error as one line of at most 512 bytes, redacted: it may contain a collector's response.
func oneLine(err error) string { return text.Line(redact(err.Error()), 512) }
