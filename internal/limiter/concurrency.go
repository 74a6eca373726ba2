package limiter

import (
	"slices"
	"time"
)

// concurrency is how many calls may run at the same time: the configured number at
// most, and fewer if calls time out, or take so long that the API must be queueing them.
//
// It begins with few calls and allows one more for each answer (slow start), until
// a call takes too long; from then on one more for as many answers as calls run.
//
// Too long is measured against the baseline latency, the lowest median so far. The
// baseline is measured again once few calls run and are slow still: then the API
// has become slower for another reason.
type concurrency struct {
	configured float64
	allowed    float64
	slowStart  bool
	decreased  time.Time // when it last was

	latencies []time.Duration // since the last median
	baseline  time.Duration
}

const (
	// firstConcurrency is how many calls may run before any is answered. From there
	// the number doubles within the time of an answer, so that a low limit of the API
	// is hit by few calls, and a high limit is reached quickly.
	firstConcurrency = 8
	// A median latency of more than maxLatencyRatio times the baseline is too long, if it is
	// also longer than slow.
	maxLatencyRatio = 2
	minSlowLatency  = 200 * time.Millisecond
	// rebaselineShare is the part of the configured number that counts as rebaselineShare.
	rebaselineShare = 1. / 8
)

func newConcurrency(configured int) *concurrency {
	return &concurrency{configured: float64(configured), allowed: float64(min(configured, firstConcurrency)), slowStart: true}
}

// limit is how many calls may run.
func (c *concurrency) limit() int { return int(c.allowed) }

// answered adapts to a call that was answered.
func (c *concurrency) answered(begun, now time.Time) {
	if c.slowStart {
		c.allowed++
	} else {
		c.allowed += 1 / c.allowed
	}
	c.allowed = min(c.allowed, c.configured)
	if begun.Before(c.decreased) {
		return // it began before the decrease, among more calls than may run now
	}
	c.latencies = append(c.latencies, now.Sub(begun))
	if len(c.latencies) < max(c.limit(), firstConcurrency) {
		return
	}
	slices.Sort(c.latencies)
	median := c.latencies[len(c.latencies)/2]
	c.latencies = c.latencies[:0]
	if c.baseline == 0 || median < c.baseline || c.allowed <= max(rebaselineShare*c.configured, firstConcurrency) {
		c.baseline = median
	}
	if long := max(maxLatencyRatio*c.baseline, minSlowLatency); median > long {
		c.decrease(now, max(float64(long)/float64(median), 0.5))
	}
}

// timedOut halves the number, once for all calls that were in flight.
func (c *concurrency) timedOut(begun, now time.Time) {
	if begun.After(c.decreased) {
		c.decrease(now, 0.5)
	}
}

func (c *concurrency) decrease(now time.Time, factor float64) {
	c.allowed = max(c.allowed*factor, 1)
	c.slowStart, c.decreased, c.latencies = false, now, c.latencies[:0]
}
