package consumer

import (
	"math"
	"slices"
	"time"
)

// speed is the rate that a lane keeps to: what is configured, at most, and what
// it has learned of the API's limit. It knows no limit until the API refuses a
// call (429), or grants a rate in a header.
//
// From the first refusal to the next call that is let through is an episode, and
// after one the rate is what the API had let through. From there it grows like
// CUBIC (RFC 9438): fast towards the limit, slowly around it, and then faster
// and faster, to find a limit that was raised. It comes to the limit the later
// the more the last episode cost.
//
// It holds no clock and no lock: its owner says what happens when.
type speed struct {
	most    float64 // what is configured, calls a second; infinite for no limit
	least   float64 // what an API can bring it down to
	granted float64 // what the API says it grants, infinite while it does not

	learned bool
	search  bool          // nothing but a lower bound is known: double until refused
	base    float64       // the rate after the last episode
	top     float64       // the limit, as far as it is known
	hold    time.Duration // in which the rate grows from base to top
	grown   time.Duration // spent growing; a lane that has nothing to do does not grow
	search0 time.Duration // how long a search stays at its base

	began  []time.Time // calls of the last window
	last   time.Time   // of them
	slot   time.Time   // when the last one should have begun
	phase  time.Time   // the first call after the last episode
	calls  int         // since then
	burst  int         // calls that were let through before the very first refusal,
	within float64     // and in how many seconds

	episode
}

// episode is a time in which the API lets nothing through.
type episode struct {
	on      bool
	first   time.Time // when the first refused call had begun
	known   time.Time // when its answer came
	probe   time.Time // when the call began that tries whether it is over
	trying  bool      // the answer to that one is awaited
	until   time.Time // before this nothing is tried
	refused int       // calls
	tries   int       // of them after a pause
	lasted  float64   // seconds of calls that the API let through before
}

const (
	// window is as far back as calls are remembered.
	window = 5 * time.Second
	// below is how far under the limit the rate stays, and under that its base.
	below, belowTop = 0.99, 0.98
	// An episode is worth a pause of one of pausesApart parts of the time, and one
	// in refusalsApart calls.
	pausesApart, refusalsApart = 75, 300
	// minHold is the least time from one episode to the next growth beyond the limit.
	minHold = 4 * time.Second
	// maxHold is the most, however much it cost: who pays a lot rarely, has few calls.
	maxHold = 10 * time.Minute
	// fewCalls tell nothing about a rate.
	fewCalls = 8
	// doubling is the time in which a search doubles the rate.
	doubling = 250 * time.Millisecond
	// firstPause is the wait after a refusal that names none, doubled up to maxPause.
	firstPause, maxPause = 50 * time.Millisecond, time.Second
	// oversleep is how late a timer may be.
	oversleep = 2 * time.Millisecond
)

func newSpeed(perSecond float64, longest time.Duration) *speed {
	if perSecond == 0 {
		perSecond = math.Inf(1)
	}
	return &speed{most: perSecond, least: 1 / longest.Seconds(), granted: math.Inf(1)}
}

// rate is how many calls a second may begin now.
func (s *speed) rate() float64 {
	most := min(s.most, s.granted)
	if !s.learned {
		return most
	}
	var rate float64
	switch grown := s.grown.Seconds(); {
	case s.search:
		rate = s.base * math.Exp2(float64(max(s.grown-s.search0, 0))/float64(doubling))
	case s.grown < s.hold:
		rate = s.top - (s.top-s.base)*math.Pow(1-grown/s.hold.Seconds(), 3)
	default:
		beyond := (grown - s.hold.Seconds()) / max(s.hold.Seconds()/6, 2)
		rate = s.top * (1 + 0.03*math.Pow(beyond, 3))
	}
	return min(rate, most)
}

// wait is how long no call may begin. answer is true if only the answer to the
// call that is out can tell.
func (s *speed) wait(now time.Time) (d time.Duration, answer bool) {
	if s.on && s.trying {
		return 0, true
	}
	at := s.slot.Add(s.interval())
	if s.until.After(at) {
		at = s.until
	}
	return max(at.Sub(now), 0), false
}

// interval is the time from one call to the next.
func (s *speed) interval() time.Duration {
	return time.Duration(min(float64(time.Second)/s.rate(), float64(math.MaxInt64/4)))
}

// begin notes a call that begins now, for which there is no wait any more.
func (s *speed) begin(now time.Time, waited bool) {
	// A timer that was late must not make the next call late.
	due, late := s.slot.Add(s.interval()), time.Duration(0)
	if waited && !s.on {
		late = oversleep
	}
	s.slot = due
	if s.slot.Before(now.Add(-late)) {
		s.slot = now.Add(-late)
	}
	switch {
	case s.on:
		s.trying, s.probe = true, now
	case s.learned && now.Sub(due) <= oversleep: // it is the rate that keeps calls back
		grown := min(now.Sub(s.last), 2*s.interval())
		if s.search {
			grown = min(grown, doubling)
		}
		s.grown += grown
	}
	if s.calls == 0 {
		s.phase = now
	}
	s.calls++
	s.last = now
	s.began = append(s.began, now)
	old, _ := slices.BinarySearchFunc(s.began, now.Add(-window), time.Time.Compare)
	s.began = s.began[old:]
}

// between counts the calls that began from a time on, and before another.
func (s *speed) between(from, to time.Time) int {
	first, _ := slices.BinarySearchFunc(s.began, from, time.Time.Compare)
	last, _ := slices.BinarySearchFunc(s.began, to, time.Time.Compare)
	return max(last-first, 0)
}

// passed notes that the call which began then was not refused. It says whether an
// episode is over by that.
func (s *speed) passed(begun time.Time) (over bool) {
	if !s.on || begun.Before(s.probe) || !s.trying {
		return false
	}
	if s.search && s.burst == 0 {
		// All that were out when the first one was refused are answered by now.
		s.burst = max(s.calls-1-s.refused, 1)
		s.base = max(s.base, belowTop*min(float64(s.burst), float64(s.burst)/s.within))
	}
	pause := s.probe.Sub(s.first).Seconds()
	cost := max(pausesApart*pause, refusalsApart*float64(s.refused)/max(s.top, s.base))
	s.hold = min(max(minHold, seconds(min(cost, 6*s.lasted))), maxHold)
	s.on, s.trying = false, false
	s.grown, s.calls, s.phase = 0, 1, s.probe
	return true
}

// nothing notes that the call which began then has no answer that tells anything
// about limits.
func (s *speed) nothing(begun time.Time) {
	if s.on && !begun.Before(s.probe) {
		s.trying = false
	}
}

// refuse notes that the call which began then was refused, for at least the given
// time if that is not 0. It says whether an episode began with that.
func (s *speed) refuse(begun, now time.Time, wait time.Duration) (first bool) {
	switch {
	case !s.on && s.learned && !begun.After(s.known):
		return false // it was out when the last episode began, and came late
	case s.on && s.trying && !begun.Before(s.probe):
		s.trying = false
		s.tries++
	case s.on && wait == 0:
		s.refused++
		return false
	case !s.on:
		first = true
		s.learn(begun)
		s.episode = episode{on: true, first: begun, known: now, lasted: begun.Sub(s.phase).Seconds()}
	}
	s.refused++
	if wait == 0 {
		wait = min(firstPause<<min(s.tries, 10), maxPause)
	}
	s.pause(now.Add(wait))
	return first
}

// pause keeps calls from beginning before a time.
func (s *speed) pause(until time.Time) {
	if until.After(s.until) {
		s.until = until
	}
}

// grant takes a rate that the API says it grants. One that rises makes what was
// learned before void.
func (s *speed) grant(rate float64) {
	rate = max(rate*below, s.least)
	if rate > 1.05*s.granted {
		s.learned = false
	}
	s.granted = rate
}

// learn finds out the limit from the calls that had been let through when one that
// began then was refused.
//
// The calls of the last second are at least what the limit is, for they may have
// used up what an allowance for bursts had saved; this is about right where an API
// counts by windows. There are two lower bounds, about right where it is a token
// bucket: the calls since the last episode, that was without any, which hold if the
// bucket did not overflow in between; and any of the last calls, less what the
// bucket held at the very first.
func (s *speed) learn(begun time.Time) {
	lasted := begun.Sub(s.phase).Seconds()
	calls := s.calls - s.between(begun, begun.Add(window))
	if !s.learned {
		s.learned, s.search = true, true
		s.within = lasted
		s.base = belowTop * float64(max(s.between(begun.Add(-time.Second), begun), 1))
		s.search0 = seconds(min(1, 4*lasted))
		return
	}
	idle := float64(calls) < s.rate()*lasted/2 && s.between(begun.Add(-time.Second), begun) < fewCalls
	if calls < fewCalls || idle { // they may be all that there was to call for
		s.base, s.top = max(s.base*belowTop, s.least), max(s.top*belowTop, s.least) // it was hardly over
		return
	}
	// One episode is not believed to have found less than half.
	least := max(s.rate()/2, s.least)
	lately := func(span float64) float64 {
		return float64(s.between(begun.Add(-seconds(span)), begun)) / span
	}
	// A search is fast: its last moments count.
	upper := lately(max(min(1, lasted), 1e-3))
	if s.search {
		upper = max(upper, lately(max(min(0.25, lasted), 1e-3)))
	}
	lower := float64(calls) / max(begun.Sub(s.first).Seconds(), 1e-3)
	bucket := 0.0
	for span := 1. / 16; span <= min(lasted, 4); span *= 2 {
		if span > 4*s.within {
			held := float64(s.burst-1) / span // the refused call counts
			bucket = max(bucket, min((lately(span)-held)*span/(span-s.within), lately(span)))
		}
	}
	limit, base := bucket, bucket
	if bucket < lower || float64(s.burst) > upper/3 {
		// The longer it went well, the less of it was a burst.
		sure := lasted / (lasted + 1)
		limit = lower + sure*max(upper-lower, 0)
		base = lower + sure*(limit-lower)
	}
	top := below * limit
	if !s.search && s.grown < s.hold {
		top = min(top, s.rate())
	}
	s.top = max(top, least)
	s.base = max(belowTop*min(s.top, base), belowTop*least)
	s.search = false
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s, 1e9) * float64(time.Second))
}
