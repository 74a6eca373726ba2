package consumer

import (
	"slices"
	"time"
)

// breadth is how many calls may be out at the same time: at most what is
// configured, fewer where calls time out, and where they take so long that the API
// must be keeping them waiting.
//
// What long means is learned: the median of the calls' times when they were
// shortest. That is learned anew once few are out and it is long still, for then
// the API has become slower for another reason than that it has many at once.
type breadth struct {
	most    float64
	allowed float64
	steep   bool      // it was never too many: one more for each answer
	shrunk  time.Time // when it last did

	times []time.Duration // of the calls answered since the last look
	usual time.Duration   // the median at its best
}

const (
	// firstBreadth is how many calls may be out before any was answered. From there
	// it doubles within one answer's time, so that a limit that is low is met with
	// few calls, and a high one in no time.
	firstBreadth = 8
	// tooLong is how many times the usual is long, if it is slow at all.
	tooLong = 2
	slow    = 200 * time.Millisecond
	// few is which part of the calls is few, as firstBreadth calls always are.
	few = 1. / 8
)

func newBreadth(most int) *breadth {
	return &breadth{most: float64(most), allowed: float64(min(most, firstBreadth)), steep: true}
}

// limit is how many calls may be out.
func (b *breadth) limit() int { return int(b.allowed) }

// answered takes the time that a call took until its answer, and lets one more be
// out for as many answers as are out.
func (b *breadth) answered(begun, now time.Time) {
	if b.steep {
		b.allowed++
	} else {
		b.allowed += 1 / b.allowed
	}
	b.allowed = min(b.allowed, b.most)
	if begun.Before(b.shrunk) {
		return // what is out by then says nothing of what may be out now
	}
	b.times = append(b.times, now.Sub(begun))
	if len(b.times) < max(b.limit(), firstBreadth) {
		return
	}
	slices.Sort(b.times)
	median := b.times[len(b.times)/2]
	b.times = b.times[:0]
	if b.usual == 0 || median < b.usual || b.allowed <= max(few*b.most, firstBreadth) {
		b.usual = median
	}
	if long := max(tooLong*b.usual, slow); median > long {
		b.shrink(now, max(float64(long)/float64(median), 0.5))
	}
}

// timedOut halves the breadth, once for all calls that were out by then.
func (b *breadth) timedOut(begun, now time.Time) {
	if begun.After(b.shrunk) {
		b.shrink(now, 0.5)
	}
}

func (b *breadth) shrink(now time.Time, to float64) {
	b.allowed = max(b.allowed*to, 1)
	b.steep, b.shrunk, b.times = false, now, b.times[:0]
}
