package main

import (
	"context"
	"os"
	"runtime"
	"time"
)

const (
	// fitEvery is how often the worker measures its demand for processors.
	fitEvery = 500 * time.Millisecond
	// calmLoad and busyLoad are the CPU seconds used in a second below which one
	// processor is enough, and from which on it is not.
	calmLoad, busyLoad = 0.4, 0.6
	// calmQueue and busyQueue are the same for the goroutines that wait for a processor.
	calmQueue, busyQueue = 1, 2
)

// demand is how much of the processors this process needs.
type demand struct {
	// load is the CPU seconds used in a second. It stays low, however much there is to do,
	// while other processes use the processors.
	load float64
	// queue is the mean number of goroutines that could run, and wait for a processor.
	queue float64
}

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
	single, at, waits := false, time.Now(), newWaits()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		before, since := used, at
		used, _ = cpuTime()
		at = time.Now()
		seconds := at.Sub(since).Seconds()
		switch one := oneIsEnough(single, demand{load: (used - before).Seconds() / seconds, queue: waits.sinceLast() / seconds}); {
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

// oneIsEnough reports whether one processor is enough for a worker with this demand.
// single is the last answer.
func oneIsEnough(single bool, d demand) bool {
	if single {
		return d.load < busyLoad && d.queue < busyQueue
	}
	return d.load < calmLoad && d.queue < calmQueue
}
