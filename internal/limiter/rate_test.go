package limiter

import (
	"testing"
	"time"
)

// callAt begins a call as soon as it may begin, and returns that time.
func callAt(t *testing.T, r *rate, now time.Time) time.Time {
	t.Helper()
	wait, change := r.wait(now)
	if change {
		t.Fatal("a probe is in flight")
	}
	now = now.Add(wait)
	r.begin(now, wait > 0)
	return now
}

// A slow lane makes few calls in the time of a doubling. A single one must not raise the rate
// to more than twice.
func TestACallDoublesTheRateAtMost(t *testing.T) {
	r := newRate(0, time.Hour)
	now := callAt(t, r, time.Now())
	r.onThrottle(now, now, 0)
	for before := r.current(); before < 1000; before = r.current() {
		now = callAt(t, r, now)
		r.onSuccess(now)
		if after := r.current(); after > 2*before {
			t.Fatalf("%v calls a second, %v after one more call", before, after)
		}
	}
}

// A lane with little load keeps its rate, because its calls do not test a higher one.
func TestTheRateGrowsOnlyWhereItIsUsed(t *testing.T) {
	r := newRate(0, time.Hour)
	now := callAt(t, r, time.Now())
	r.onThrottle(now, now, 0)
	for range 10 {
		now = callAt(t, r, now)
		r.onSuccess(now)
	}
	before := r.current()
	for range 100 {
		now = callAt(t, r, now.Add(10*time.Second))
		r.onSuccess(now)
	}
	if after := r.current(); after != before {
		t.Errorf("%v calls a second, %v after a time with little load", before, after)
	}
}
