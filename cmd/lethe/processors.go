package main

import (
	"context"
	"os"
	"runtime"
	"time"
)

const (
	// fitEvery is how often the worker measures its CPU time.
	fitEvery = 500 * time.Millisecond
	// calmBelow and busyAbove are the CPU seconds used in a second below which one
	// processor is enough, and above which it is not.
	calmBelow, busyAbove = 0.4, 0.6
)

// fitProcessors limits Go to one processor while the worker needs less than half of
// one, until ctx ends (docs/decisions/0018). An environment that sets GOMAXPROCS
// has decided.
func fitProcessors(ctx context.Context) {
	used, known := cpuTime()
	if os.Getenv("GOMAXPROCS") != "" || !known {
		return
	}
	ticker := time.NewTicker(fitEvery)
	defer ticker.Stop()
	single, at := false, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		before, since := used, at
		used, _ = cpuTime()
		at = time.Now()
		switch one := oneIsEnough(single, (used-before).Seconds()/at.Sub(since).Seconds()); {
		case one == single:
			continue
		case one:
			runtime.GOMAXPROCS(1)
		default:
			runtime.SetDefaultGOMAXPROCS()
		}
		single = !single
	}
}

// oneIsEnough reports whether one processor is enough for a worker that uses load CPU
// seconds in a second. single is the last answer.
func oneIsEnough(single bool, load float64) bool {
	if single {
		return load < busyAbove
	}
	return load < calmBelow
}
