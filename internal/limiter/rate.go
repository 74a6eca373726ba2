package limiter

import (
	"math"
	"time"
)

// rate is how many calls may begin in a second: the lowest of the configured rate, the
// rate that the API grants in a header, and the rate learned from throttling (429).
//
// It is an adaptive limiter like those of the AWS SDKs. Throttling lowers the rate
// to a floor a little below the ceiling at which the API throttled. From there it
// grows along the curve of CUBIC (RFC 9438): quickly at first, slowly around the
// ceiling, and then ever faster. Past the ceiling the API has raised its limit: the
// rate doubles until the API throttles again (slow start). Because calls are evenly
// spaced, a small decrease is enough, and one call every few seconds tests the limit.
//
// A throttling episode lasts until a call that began later is accepted. Its first refusal
// says that the rate is a little too high. A second one in a row says that the API
// accepts no calls now: its window is used up, or the rate is far too high. Then single
// calls probe, with growing pauses. Answers to calls that were in flight when the rate
// was lowered say nothing new.
//
// rate has no clock and no lock: its owner passes the times, and locks.
type rate struct {
	configured float64 // infinite for no limit
	granted    float64 // by the API in a header, infinite while it grants none
	minimum    float64 // that throttling can lower the rate to

	learned   bool
	slowStart bool
	floor     float64       // the rate after the last decrease
	ceiling   float64       // at which the API throttled
	grown     time.Duration // since the last decrease, while the rate delayed calls
	limiting  bool          // the rate delayed the last call

	refusals    int       // in a row, 0 outside an episode
	lastRefused time.Time // when the call of the last refusal began
	lowered     time.Time // when that refusal came
	probing     bool      // a single call is in flight, and began at
	probed      time.Time

	until    time.Time // no call may begin before
	began    time.Time // when the last call did
	slot     time.Time // when it should have begun
	accepted counter   // calls that the API did not throttle
}

const (
	// decrease is what a throttling episode leaves of the rate. A smaller share wastes
	// calls in each cycle; a larger one does not let a token bucket refill.
	decrease = 0.95
	// timeToCeiling is how long the rate takes from floor to ceiling: one or two calls
	// are refused in this time, and a raised limit is noticed after it. It is longer if
	// ceilingCalls calls take longer.
	timeToCeiling, ceilingCalls = 4500 * time.Millisecond, 6
	// steepness is how fast the rate grows past its ceiling, and slow start begins
	// where it has grown by pastCeiling: more than a second later, so that an API that
	// counts by windows of a second has refused a call before.
	steepness, pastCeiling = 2, 1.1
	// doubling is the time in which slow start doubles the rate.
	doubling = 250 * time.Millisecond
	// firstPause is the wait before a probe, doubled up to maxPause.
	firstPause, maxPause = 50 * time.Millisecond, time.Second
	// grantMargin is how much of a granted rate is used.
	grantMargin = 0.99
	// timerSlack is how late a timer may be.
	timerSlack = 2 * time.Millisecond
)

func newRate(perSecond float64, longest time.Duration) *rate {
	if perSecond == 0 {
		perSecond = math.Inf(1)
	}
	return &rate{configured: perSecond, granted: math.Inf(1), minimum: 1 / longest.Seconds()}
}

// current is how many calls may begin in a second now.
func (r *rate) current() float64 {
	limit := min(r.configured, r.granted)
	if !r.learned {
		return limit
	}
	return min(r.curve(r.grown), limit)
}

// curve is the learned rate after some time of growth.
func (r *rate) curve(grown time.Duration) float64 {
	if r.slowStart {
		return r.floor * math.Exp2(float64(grown)/float64(doubling))
	}
	x := float64(grown)/float64(r.timeToCeiling()) - 1
	if x < 0 {
		return r.ceiling + (r.ceiling-r.floor)*x*x*x
	}
	return r.ceiling * (1 + steepness*x*x*x)
}

func (r *rate) timeToCeiling() time.Duration {
	return max(timeToCeiling, seconds(ceilingCalls/r.ceiling))
}

// wait is how long no call may begin. change is true if that depends on the answer to
// the probe.
func (r *rate) wait(now time.Time) (d time.Duration, change bool) {
	if r.probing {
		return 0, true
	}
	at := r.slot.Add(r.interval())
	if r.until.After(at) {
		at = r.until
	}
	return max(at.Sub(now), 0), false
}

// interval is the time from one call to the next.
func (r *rate) interval() time.Duration {
	return time.Duration(min(float64(time.Second)/r.current(), math.MaxInt64/4))
}

// begin records a call that begins now, after wait returned 0. waited: it had to wait
// before.
func (r *rate) begin(now time.Time, waited bool) {
	due := r.slot.Add(r.interval())
	r.slot = due
	earliest := now
	if waited { // a timer that was late must not make the next call late
		earliest = now.Add(-timerSlack)
	}
	if r.slot.Before(earliest) {
		r.slot = earliest
	}
	r.limiting = now.Sub(due) <= timerSlack
	switch {
	case r.stopped():
		r.probing, r.probed, r.slot = true, now, now
	case r.learned && r.limiting:
		r.grow(min(now.Sub(r.began), 2*r.interval()))
	}
	r.began = now
}

// stopped reports whether the API accepts no calls, so that single calls probe.
func (r *rate) stopped() bool { return r.refusals >= 2 }

// probe reports whether the call that began at a time is the probe.
func (r *rate) probe(begun time.Time) bool { return r.probing && begun.Equal(r.probed) }

// grow raises the rate. Far enough past the ceiling, slow start begins.
func (r *rate) grow(by time.Duration) {
	if r.slowStart {
		by = min(by, doubling)
	}
	r.grown += by
	if !r.slowStart && r.curve(r.grown) > pastCeiling*r.ceiling {
		r.floor, r.slowStart, r.grown = pastCeiling*r.ceiling, true, 0
	}
}

// onSuccess adapts to a call that the API did not throttle.
func (r *rate) onSuccess(begun time.Time) {
	r.accepted.add(begun)
	if begun.After(r.lastRefused) {
		r.refusals, r.probing = 0, false
	}
}

// onNoAnswer ends a probe whose answer says nothing about limits.
func (r *rate) onNoAnswer(begun time.Time) {
	if r.probe(begun) {
		r.probing = false
	}
}

// onThrottle adapts to a call that was refused. wait is the API's Retry-After, 0 if it
// sent none.
func (r *rate) onThrottle(begun, now time.Time, wait time.Duration) {
	if wait > time.Second { // a second, the shortest Retry-After there is, often means less
		r.pause(now.Add(wait))
	}
	if !begun.After(r.lowered) {
		return
	}
	accepted := float64(r.accepted.lastSecond(begun))
	idle := !r.limiting && accepted < r.current()/2
	r.refusals++
	switch {
	case !r.learned:
		r.learned, r.slowStart, r.floor, r.grown = true, true, max(accepted, 1), 0
	case idle: // other clients use the same limit, and this lane did not test it
	case r.refusals == 1:
		r.lower(begun, now, accepted)
	case r.refusals == 2 && !r.slowStart:
		r.setCeiling(max(min(accepted, r.ceiling), r.ceiling/2))
	}
	if idle || r.stopped() {
		r.pause(now.Add(min(firstPause<<min(max(r.refusals-2, 0), 10), maxPause)))
	}
	r.lastRefused, r.lowered, r.probing = begun, now, false
}

// lower sets the ceiling to the rate at which the refused call began. Below the last
// ceiling it is no lower than the number of calls accepted in the last second: an API
// with a sliding window refuses some more calls before it accepts the same number again.
func (r *rate) lower(begun, now time.Time, accepted float64) {
	ceiling := r.curve(max(r.grown-now.Sub(begun), 0))
	if !r.slowStart && r.grown < r.timeToCeiling() {
		ceiling = max(ceiling, min(accepted, r.ceiling))
	}
	r.setCeiling(ceiling)
	if r.began.Equal(begun) { // the next call may begin half an interval earlier: this one used nothing
		r.slot = r.slot.Add(-r.interval() / 2)
	}
}

func (r *rate) setCeiling(ceiling float64) {
	r.ceiling = max(ceiling, r.minimum)
	r.floor, r.slowStart, r.grown = max(decrease*r.ceiling, r.minimum), false, 0
}

// pause keeps calls from beginning before a time.
func (r *rate) pause(until time.Time) {
	if until.After(r.until) {
		r.until = until
	}
}

// grant sets the rate that the API grants in a header. A higher rate than before
// discards what was learned.
func (r *rate) grant(perSecond float64) {
	perSecond = max(perSecond*grantMargin, r.minimum)
	if perSecond > 1.05*r.granted {
		r.learned = false
	}
	r.granted = perSecond
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s, 1e9) * float64(time.Second))
}
