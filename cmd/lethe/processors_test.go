package main

import "testing"

func TestOneProcessorIsEnoughWhileTheWorkerIsCalm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		single bool
		load   float64
		want   bool
	}{
		"calm with all processors":     {false, 0.39, true},
		"not quite calm":               {false, 0.4, false},
		"busy with all processors":     {false, 1.7, false},
		"calm with one":                {true, 0.1, true},
		"between calm and busy, one":   {true, 0.59, true},
		"busy with one":                {true, 0.6, false},
		"between calm and busy, all":   {false, 0.5, false},
		"a machine without any load":   {false, 0, true},
		"one processor used fully":     {true, 1, false},
		"a clock that moved backwards": {true, -1, true},
	} {
		if got := oneIsEnough(c.single, c.load); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestACalmWorkerUsesOneProcessorUnlessTheEnvironmentDecides(t *testing.T) {
	b := newBench(t)
	decided := b.start("GOMAXPROCS=3")
	calm := b.start()
	b.shows(calm, "go_processor_limit", exactly(1)) // the other one has been running for longer
	b.shows(decided, "go_processor_limit", exactly(3))
}
