package main

import "runtime/metrics"

// waits adds up how long goroutines wait for a processor.
type waits struct {
	sample []metrics.Sample
	before []uint64
}

// waitSampling is the share of all waits that Go measures: one in eight.
const waitSampling = 1. / 8

func newWaits() *waits {
	w := &waits{sample: []metrics.Sample{{Name: "/sched/latencies:seconds"}}}
	w.sinceLast()
	return w
}

// sinceLast returns the total time, in seconds, that goroutines have waited since the last
// call. It is approximate, because Go samples and rounds. It is 0 if Go provides no such
// metric.
func (w *waits) sinceLast() float64 {
	metrics.Read(w.sample)
	if w.sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0
	}
	h, seconds := w.sample[0].Value.Float64Histogram(), 0.
	if w.before == nil {
		w.before = make([]uint64, len(h.Counts))
	}
	for i, count := range h.Counts {
		seconds += float64(count-w.before[i]) * max(h.Buckets[i], 0) // a bucket's lower end; the first is -Inf
	}
	copy(w.before, h.Counts)
	return seconds / waitSampling
}
