package page

import (
	"math"
	"sync"
	"time"
)

const (
	// sampleEvery is how often the history is written. The counts of the server are not
	// newer than that.
	sampleEvery = 15 * time.Second
	// span is how far back the charts go.
	span = time.Hour
	// maxSamples bounds the history.
	maxSamples = int(span/sampleEvery) + 1
)

// sample is the numbers of one period. Unknown numbers are NaN.
type sample struct {
	at         time.Time
	minutes    float64            // since the sample before
	requestsIn float64            // per minute
	results    map[string]float64 // by outcome, in all lanes
	lanes      map[string]laneSample
}

type laneSample struct {
	waiting     float64
	calls       float64 // per minute
	median, p95 float64 // quantiles of the latency in seconds
}

// history is the last hour.
type history struct {
	mu      sync.Mutex
	samples []sample // oldest first
	last    Situation
	lastAt  time.Time
}

// add appends what changed since the last call.
func (h *history) add(now time.Time, s Situation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	minutes := now.Sub(h.lastAt).Minutes()
	if h.lastAt.IsZero() || minutes <= 0 {
		minutes = math.NaN()
	}
	next := sample{at: now, minutes: minutes, requestsIn: h.requestsIn(now, s), results: map[string]float64{}, lanes: map[string]laneSample{}}
	for _, lane := range s.Lanes {
		before := totalsOf(h.last, lane.Target) // none at first: the worker counts from its start
		took := since(lane.Totals.Latency, before.Latency)
		l := laneSample{
			waiting: math.NaN(), calls: float64(lane.Totals.Calls-before.Calls) / minutes,
			median: quantile(took, 0.5), p95: quantile(took, 0.95),
		}
		if lane.Waiting != nil && s.CountedAt.After(now.Add(-2*sampleEvery)) {
			l.waiting = float64(*lane.Waiting)
		}
		for outcome, n := range lane.Totals.Results {
			next.results[outcome] += float64(n - before.Results[outcome])
		}
		next.lanes[lane.Target] = l
	}
	h.samples = append(h.samples, next)
	if extra := len(h.samples) - maxSamples; extra > 0 {
		h.samples = append([]sample(nil), h.samples[extra:]...)
	}
	h.last, h.lastAt = s, now
}

// requestsIn is the rate since the count before. Until the next count, the
// last rate stays for as long as it may be true.
func (h *history) requestsIn(now time.Time, s Situation) float64 {
	if s.RequestsIn == nil || h.last.RequestsIn == nil {
		return math.NaN()
	}
	took := s.CountedAt.Sub(h.last.CountedAt)
	switch {
	case *s.RequestsIn < *h.last.RequestsIn:
		return math.NaN() // the stream was created again
	case took > 0:
		return float64(*s.RequestsIn-*h.last.RequestsIn) / took.Minutes()
	case len(h.samples) > 0 && now.Sub(s.CountedAt) < 2*sampleEvery:
		return h.samples[len(h.samples)-1].requestsIn
	default:
		return math.NaN()
	}
}

func (h *history) read() []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.samples // it is never written to, only replaced or appended to
}

func totalsOf(s Situation, target string) Totals {
	for _, lane := range s.Lanes {
		if lane.Target == target {
			return lane.Totals
		}
	}
	return Totals{}
}

// since is what was added to a histogram.
func since(now, before []Bucket) []Bucket {
	added := make([]Bucket, len(now))
	for i, b := range now {
		added[i] = b
		if i < len(before) {
			added[i].Count -= before[i].Count
		}
	}
	return added
}

// quantile is the duration in seconds within which a share of the calls ended, NaN if
// there was none. It is exact to the width of a bucket.
func quantile(counts []Bucket, share float64) float64 {
	var all, below uint64
	for _, b := range counts {
		all += b.Count
	}
	for _, b := range counts {
		if below += b.Count; b.Count > 0 && float64(below) >= share*float64(all) {
			return b.UpTo.Seconds()
		}
	}
	return math.NaN()
}
