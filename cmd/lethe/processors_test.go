package main

import (
	"runtime"
	"testing"
	"time"
)

func TestOneProcessorIsEnoughWhileTheWorkerIsCalm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		single bool
		demand demand
		want   bool
	}{
		"calm with all processors":                   {false, demand{load: 0.39}, true},
		"not quite calm":                             {false, demand{load: 0.4}, false},
		"busy with all processors":                   {false, demand{load: 1.7}, false},
		"calm with one":                              {true, demand{load: 0.1}, true},
		"between calm and busy, one":                 {true, demand{load: 0.59}, true},
		"busy with one":                              {true, demand{load: 0.6}, false},
		"between calm and busy, all":                 {false, demand{load: 0.5}, false},
		"a machine without any load":                 {false, demand{}, true},
		"one processor used fully":                   {true, demand{load: 1}, false},
		"a clock that moved backwards":               {true, demand{load: -1, queue: -1}, true},
		"goroutines wait, though one is hardly used": {true, demand{load: 0.1, queue: 2}, false},
		"few goroutines wait for one":                {true, demand{load: 0.1, queue: 1.9}, true},
		"goroutines wait for all processors":         {false, demand{load: 0.1, queue: 1}, false},
		"few goroutines wait for all processors":     {false, demand{load: 0.1, queue: 0.9}, true},
	} {
		if got := oneIsEnough(c.single, c.demand); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWaitsCountGoroutinesThatWaitForAProcessor(t *testing.T) {
	w := newWaits()
	begin := time.Now()
	done := make(chan struct{})
	const each = 16
	goroutines := each * runtime.GOMAXPROCS(0)
	for range goroutines {
		go func() {
			for time.Since(begin) < 500*time.Millisecond {
				runtime.Gosched()
			}
			done <- struct{}{}
		}()
	}
	for range goroutines {
		<-done
	}
	// All but one for each processor wait at any time. Go samples and rounds.
	if queue := w.sinceLast() / time.Since(begin).Seconds(); queue < each/2 {
		t.Errorf("%d goroutines that always want to run: %.2f wait", goroutines, queue)
	}
	if again := w.sinceLast(); again > 0.5 {
		t.Errorf("%.2f s of waiting counted again", again)
	}
}

func TestACalmWorkerUsesOneProcessorUnlessTheEnvironmentDecides(t *testing.T) {
	b := newBench(t)
	decided := b.start("GOMAXPROCS=3")
	calm := b.start()
	b.shows(calm, "go_processor_limit", exactly(1)) // the other one has been running for longer
	b.shows(decided, "go_processor_limit", exactly(3))
}
