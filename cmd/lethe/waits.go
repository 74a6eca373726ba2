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
	w.more()
	return w
}

// more returns for how many seconds goroutines have waited since the last call, all
// added up: about, because Go samples and rounds. It is 0 where Go does not tell.
func (w *waits) more() float64 {
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
