package main

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"
)

// grace is how long the process may take to end after a signal, all in all.
type grace struct {
	total time.Duration

	mu   sync.Mutex
	ends time.Time // zero until the signal
}

// closing is what the grace period has left for the end: the last
// acknowledgements and telemetry, after all lanes have ended.
func (g *grace) closing() time.Duration { return min(g.total/8, 2*time.Second) }

// lanes is how long the lanes may take.
func (g *grace) lanes() time.Duration { return g.total - g.closing() }

// watch lets the period begin when ctx ends, and ends the process when it is
// over. It returns how to call that off.
func (g *grace) watch(ctx context.Context, log *slog.Logger) (off func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		g.mu.Lock()
		g.ends = time.Now().Add(g.total)
		g.mu.Unlock()
		timer = time.AfterFunc(g.total, func() {
			log.Error("the grace period is over, ending at once; what is in work will be delivered again", "grace", g.total.String())
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

// left is how long something may take that should take at most so long. A little
// is kept back, so that the process ends by itself.
func (g *grace) left(most time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ends.IsZero() {
		return most
	}
	return max(min(most, time.Until(g.ends)-g.total/20), 10*time.Millisecond)
}
