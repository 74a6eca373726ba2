package limiter

import (
	"testing"
	"time"
)

// callAt has a call begin as soon as it may, and returns when that is.
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

// A slow lane makes few calls in the time of a doubling. None of them may say that
// the API allows much more.
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

// What was not tried was not found: a lane with little to do keeps its rate.
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
		t.Errorf("%v calls a second, %v after a time with few", before, after)
	}
}
