package consumer

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// LogLimits bound how many results of a kind the lanes of a worker log one by one.
// The rest are counted.
type LogLimits struct{ failed, invalid *rate.Limiter }

// The most `failed` and `invalid` results that are logged in a second, and the most bytes
// of their texts. Together they are less than 10 kB.
const (
	failedPerSecond, invalidPerSecond = 10, 5
	maxMessage, maxSource             = 160, 100
)

// NewLogLimits returns the limits of one worker.
func NewLogLimits() *LogLimits {
	return &LogLimits{rate.NewLimiter(failedPerSecond, failedPerSecond), rate.NewLimiter(invalidPerSecond, invalidPerSecond)}
}

// summaryEvery is how often a lane logs how many results of each outcome it stored.
const summaryEvery = 30 * time.Second

// outcomeLog logs the results of a lane: one by one those that a person should see, and
// the number of all.
type outcomeLog struct {
	log    *slog.Logger
	limits *LogLimits

	mu        sync.Mutex
	counts    map[events.Outcome]int64  // since the last summary
	totals    map[events.Outcome]uint64 // since the worker started
	notLogged int64                     // of failed and invalid ones
	last      time.Time                 // when the last summary was made
}

func newOutcomeLog(log *slog.Logger, limits *LogLimits) *outcomeLog {
	if limits == nil {
		limits = NewLogLimits()
	}
	return &outcomeLog{log: log, limits: limits, counts: map[events.Outcome]int64{}, totals: map[events.Outcome]uint64{}, last: time.Now()}
}

// stored logs a result that was stored.
func (o *outcomeLog) stored(ctx context.Context, r *ledger.Pending) {
	level, limit := slog.LevelDebug, (*rate.Limiter)(nil)
	switch r.Outcome {
	case events.Failed:
		level, limit = slog.LevelWarn, o.limits.failed
	case events.Invalid:
		level, limit = slog.LevelWarn, o.limits.invalid
	}
	allowed := limit == nil || limit.Allow()
	o.mu.Lock()
	o.counts[r.Outcome]++
	o.totals[r.Outcome]++
	if !allowed {
		o.notLogged++
	}
	o.mu.Unlock()
	if !allowed || !o.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("request_id", r.ID), slog.String("outcome", string(r.Outcome)), slog.Int("attempts", r.Progress.Attempts), slog.Uint64("sequence", r.Progress.Seq)}
	if r.Error != nil {
		attrs = append(attrs, slog.String("code", string(r.Error.Code)), slog.String("message", truncated(r.Error.Message, maxMessage)), slog.String("source", truncated(r.Source, maxSource)))
	}
	o.log.LogAttrs(ctx, level, "result: "+string(r.Outcome), attrs...)
}

// summarize logs the number of results since the last summary, if it is time for one
// or now is the end.
func (o *outcomeLog) summarize(now time.Time, end bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	took := now.Sub(o.last)
	if took < summaryEvery && !end {
		return
	}
	o.last = now
	if len(o.counts) == 0 {
		return
	}
	attrs := []any{slog.String("in", took.Round(time.Second).String())}
	for _, outcome := range events.Outcomes() {
		if n := o.counts[outcome]; n > 0 {
			attrs = append(attrs, slog.Int64(string(outcome), n))
		}
	}
	if o.notLogged > 0 {
		attrs = append(attrs, slog.Int64("failed_or_invalid_not_logged", o.notLogged))
	}
	o.log.Info("results", attrs...)
	clear(o.counts)
	o.notLogged = 0
}

// total counts the results since the worker started.
func (o *outcomeLog) total() map[events.Outcome]uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.totals)
}

// truncated returns s, cut to size bytes.
func truncated(s string, size int) string {
	if len(s) <= size {
		return s
	}
	return strings.ToValidUTF8(s[:size], "") + "…"
}
