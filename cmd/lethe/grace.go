package main

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"
)

// grace is the total time that a shutdown may take after a signal.
type grace struct {
	total time.Duration

	mu   sync.Mutex
	ends time.Time // zero until the signal
}

// closing is the part of the grace period for the last acknowledgements and telemetry,
// after all lanes have stopped.
func (g *grace) closing() time.Duration { return min(g.total/8, 2*time.Second) }

// lanes is the part of the grace period for the lanes.
func (g *grace) lanes() time.Duration { return g.total - g.closing() }

// watch starts the grace period when ctx ends, and exits the process when it is
// over. cancel prevents that.
func (g *grace) watch(ctx context.Context, log *slog.Logger) (cancel func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stop := context.AfterFunc(ctx, func() {
		g.mu.Lock()
		g.ends = time.Now().Add(g.total)
		g.mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		timer = time.AfterFunc(g.total, func() {
			log.Error("grace period exceeded, exiting; unfinished requests will be redelivered", "grace", g.total.String())
			os.Exit(1)
		})
	})
	return func() {
		stop()
		mu.Lock()
		defer mu.Unlock()
		if timer != nil {
			timer.Stop()
		}
	}
}

// left returns most, or what is left of the grace period if that is less. It reserves a
// twentieth so that the process exits before it is killed.
func (g *grace) left(most time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ends.IsZero() {
		return most
	}
	return max(min(most, time.Until(g.ends)-g.total/20), 10*time.Millisecond)
}
