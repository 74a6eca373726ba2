package consumer

import (
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

const (
	// slowCall is the median of a minute from which on calls are slow, if it is
	// also more than slowTimes that of the day.
	slowCall, slowTimes = 10 * time.Second, 5
	// oldRequestAge is how long a request may wait while the lane runs.
	oldRequestAge = 5 * time.Minute
)

// informative reports whether the duration of a call says something about the API: it
// answered, or the call timed out. Failures and refusals are fast in any case.
func informative(a deleter.Answer, timeout time.Duration) bool {
	if a.Status == 0 {
		return a.Duration >= timeout
	}
	return a.Status < 500 && a.Status != http.StatusTooManyRequests
}

// latencies are how long calls took in the last minute, and in the hours before. A
// call without an answer yet counts in the last minute with the time it has taken so
// far: an API that never answers must be noticed, too.
type latencies struct {
	mu       sync.Mutex
	started  time.Time // of the first call
	inFlight map[*time.Time]struct{}
	recent   ring   // of slots of ten seconds
	day      ring   // of hours
	all      Totals // its Results are elsewhere
}

// Totals count what the worker did in a lane since it started.
type Totals struct {
	// Calls have ended.
	Calls uint64
	// Durations counts the calls whose duration says something about the API, by
	// [BucketEnd].
	Durations [bucketCount]uint64
	// Results are those that were stored.
	Results map[events.Outcome]uint64
}

// total counts the calls since the worker started.
func (l *latencies) total() Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

// ring is a histogram for each of the last periods.
type ring struct {
	period time.Duration
	slots  []slot
}

type slot struct {
	number int64 // of the period since the first call
	counts histogram
}

// histogram counts durations in buckets, each a quarter longer than the one before.
type histogram [bucketCount]uint32

// bucketGrowth is how much longer a bucket is than the one before it. 64 buckets
// from a millisecond on reach half an hour.
const bucketGrowth, bucketCount = 1.25, 64

// BucketEnd is the longest duration in a bucket.
func BucketEnd(bucket int) time.Duration {
	return time.Duration(math.Pow(bucketGrowth, float64(bucket+1)) * float64(time.Millisecond))
}

func newLatencies() *latencies {
	return &latencies{
		inFlight: map[*time.Time]struct{}{},
		recent:   ring{10 * time.Second, make([]slot, 7)}, // a minute, and the slot that fills
		day:      ring{time.Hour, make([]slot, 25)},
	}
}

// begin records that a call begins. The caller ends it.
func (l *latencies) begin(now time.Time) (call *time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started.IsZero() {
		l.started = now
	}
	l.inFlight[&now] = struct{}{}
	return &now
}

// end ends a call. Its duration counts if it says something about the API; that of a call
// refused at once does not.
func (l *latencies) end(call *time.Time, now time.Time, counts bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.inFlight, call)
	l.all.Calls++
	if counts {
		bucket, since := bucketOf(now.Sub(*call)), now.Sub(l.started)
		l.all.Durations[bucket]++
		l.recent.at(since).counts[bucket]++
		l.day.at(since).counts[bucket]++
	}
}

// slow reports whether the calls of the last minute are slow. day is the median of the
// hours before this one, 0 if there are none: then the minute's alone counts.
func (l *latencies) slow(now time.Time) (minute, day time.Duration, slow bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := now.Sub(l.started)
	last := l.recent.sum(since, 0)
	for begun := range l.inFlight {
		if took := now.Sub(*begun); took > slowCall {
			last[bucketOf(took)]++
		}
	}
	earlier := l.day.sum(since, 1)
	minute, day = last.median(), earlier.median()
	return minute, day, minute > slowCall && minute > slowTimes*day
}

// at is the slot that fills at a time since the first call.
func (r *ring) at(since time.Duration) *slot {
	number := int64(since / r.period)
	s := &r.slots[number%int64(len(r.slots))]
	if s.number != number {
		*s = slot{number: number}
	}
	return s
}

// sum adds up the slots that are not too old, without the newest ones.
func (r *ring) sum(since time.Duration, newest int64) (all histogram) {
	number := int64(since / r.period)
	for i := range r.slots {
		s := &r.slots[i]
		if age := number - s.number; age < newest || age >= int64(len(r.slots)) {
			continue
		}
		for b, n := range s.counts {
			all[b] += n
		}
	}
	return all
}

func bucketOf(d time.Duration) int {
	ms := max(float64(d)/float64(time.Millisecond), 1)
	return min(int(math.Log(ms)/math.Log(bucketGrowth)), len(histogram{})-1)
}

// median is the middle of the bucket that has the median, 0 of an empty histogram.
func (h *histogram) median() time.Duration {
	var all, below uint32
	for _, n := range h {
		all += n
	}
	for b, n := range h {
		if below += n; n > 0 && 2*below >= all {
			return time.Duration(math.Pow(bucketGrowth, float64(b)+0.5) * float64(time.Millisecond))
		}
	}
	return 0
}
