// Package limiter decides when a call to an API may be made.
//
// A [Limiter] hands out slots and turns: how many calls run at the same time
// (adaptive concurrency), and how many begin in a second (adaptive rate). A
// [Breaker] stops calls while the API fails or refuses the credential. A [Policy]
// says how long one request waits between its attempts.
//
// A request passes them in this order:
//
//	Breaker.Wait      nothing is fetched while the breaker is open
//	Limiter.Acquire   a slot, about a second before the turn
//	Breaker.Allow     the permission to call, as a probe where calls are probes
//	                  (here the caller claims the request, and reports Claimed)
//	Limiter.Wait      the turn: now the call begins
//	Limiter.Learn     what the answer says about the pace
//	Breaker.Record    what the answer says about the API's health
//	Breaker.Release, Limiter.Release
//
// A 429 belongs to the Limiter: it slows down, pauses for a long Retry-After, and
// makes single calls while every call is refused. The Breaker counts a 429 as a
// failure only once slowing down did not help.
//
// Read the files in this order:
//
//	limiter.go      slots and turns
//	concurrency.go  how many calls run at the same time
//	rate.go         how many begin in a second
//	counter.go      how many began in the last two seconds
//	wait.go         waiting for a slot or a turn
//	throttled.go    what limits the calls at the moment, for people
//	breaker.go      whether calls are made, and which are probes
//	classify.go     what an answer says about the API's health
//	outage.go       when the next probe may be made
//	policy.go       how long one request waits between its attempts
package limiter

import (
	"context"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

// Config limits a lane's calls.
type Config struct {
	// Concurrency is how many calls may run at the same time, at least 1.
	Concurrency int
	// Rate is how many calls may begin in a second, 0 for no limit.
	Rate float64
	// Timeout is how long a call may take. A call without an answer that took as
	// long timed out.
	Timeout time.Duration
	// MaxWait caps the wait that an API may ask for. Refusals do not lower the rate
	// below one call in this time.
	MaxWait time.Duration
}

// Limiter says when the next call may begin. It is safe for concurrent use.
//
// A request acquires a slot before it is claimed, and waits for its turn right before its
// call: the time of a claim varies, and would turn an even rate into bursts. So that no
// call waits for a claim, there are more slots than calls may run: one more for each call
// that ends during a claim, times two to be sure, and at most twice as many in all.
type Limiter struct {
	config Config

	acquiring chan struct{} // locked by the caller that acquires a slot next,
	beginning chan struct{} // and by the one whose call begins next

	mu          sync.Mutex
	rate        *rate
	concurrency *concurrency
	acquired    int           // slots
	calls       int           // in flight
	claimTime   time.Duration // from a slot to the call, a moving average
	callTime    time.Duration // from a call to its answer, likewise
	changed     chan struct{} // closed at the next change; nil if no caller waits for it
	demand      demand
}

// leadTime is how long before its turn a request gets a slot. In this time it is claimed,
// and its right to call must last until the turn.
const leadTime = time.Second

// New returns a Limiter that knows nothing about the API yet.
func New(c Config) *Limiter {
	return &Limiter{
		config: c, acquiring: make(chan struct{}, 1), beginning: make(chan struct{}, 1),
		rate: newRate(c.Rate, c.MaxWait), concurrency: newConcurrency(c.Concurrency),
	}
}

// Acquire waits for a slot, and until leadTime before a turn. The caller must Release the
// slot. It fails only when ctx ends.
func (l *Limiter) Acquire(ctx context.Context) error {
	if err := lock(ctx, l.acquiring); err != nil {
		return err
	}
	defer unlock(l.acquiring)
	return l.waitFor(ctx, time.Time{}, func(now time.Time) (time.Duration, bool) {
		if l.acquired >= l.slots() {
			return 0, true
		}
		wait, change := l.untilLeadTime(now, l.acquired)
		if wait <= 0 && !change {
			l.acquired++
		}
		return wait, change
	})
}

// WaitForLeadTime waits until leadTime before the turn of a caller that has a slot
// already. It fails only when ctx ends.
func (l *Limiter) WaitForLeadTime(ctx context.Context) error {
	return l.waitFor(ctx, time.Time{}, func(now time.Time) (time.Duration, bool) { return l.untilLeadTime(now, l.acquired-1) })
}

// untilLeadTime is the time until leadTime before a turn, if as many others with slots
// have theirs first. change is true if that depends on the answer to a probe.
func (l *Limiter) untilLeadTime(now time.Time, others int) (wait time.Duration, change bool) {
	wait, change = l.rate.wait(now)
	ahead := float64(max(others-l.calls, 0)) * float64(l.rate.interval())
	return wait + time.Duration(min(ahead, math.MaxInt64/4)) - leadTime, change
}

// Claimed reports how long a request took from its slot to its call.
func (l *Limiter) Claimed(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claimTime = smoothed(l.claimTime, took)
}

// Wait waits for the turn of a call, and returns when it began: now. The caller
// must make the call and report its answer to Learn. Wait fails when ctx ends, and
// with [context.DeadlineExceeded] when the turn does not come before the deadline; the zero
// time is no deadline.
func (l *Limiter) Wait(ctx context.Context, deadline time.Time) (begun time.Time, err error) {
	asked := time.Now()
	defer func() {
		if err != nil { // the slot was given too early
			l.mu.Lock()
			defer l.mu.Unlock()
			l.callTime = max(l.callTime, time.Since(asked))
		}
	}()
	if err := lockBy(ctx, l.beginning, deadline); err != nil {
		return begun, err
	}
	defer unlock(l.beginning)
	waited := false
	err = l.waitFor(ctx, deadline, func(now time.Time) (time.Duration, bool) {
		wait, change := l.rate.wait(now)
		if change || l.calls >= l.concurrency.limit() {
			return wait, true
		}
		if wait <= 0 {
			begun = now
			l.rate.begin(now, waited)
			if l.rate.limiting && l.rate.source() != Unlimited {
				l.demand.recordDelay(now, l.rate.interval())
			}
			l.calls++
		}
		waited = true
		return wait, false
	})
	return begun, err
}

// Release returns a slot.
func (l *Limiter) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acquired--
	l.notify()
}

// slots is the number of slots: one for each call that may run, plus enough to claim
// ahead while calls run. If calls take much longer than claims, none is for claims ahead.
func (l *Limiter) slots() int {
	limit, ahead := l.concurrency.limit(), 0.0
	if l.callTime > 0 {
		ahead = float64(limit) * min(2*float64(l.claimTime)/float64(l.callTime), 1)
	}
	return limit + int(ahead)
}

// Learn adapts the limits to the answer to the call that began at a time. It reports
// whether the answer is a 429 for which the Limiter slows down, which is not a failure
// of the API. A 429 to a probe, a single call that tests whether the API lets calls
// through again, is a failure.
func (l *Limiter) Learn(begun time.Time, a deleter.Answer) (throttled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.notify()
	now := time.Now()
	l.calls--
	if took := now.Sub(begun); a.Status != 0 || took > l.callTime {
		l.callTime = smoothed(l.callTime, took)
	}
	refused := a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable && a.RetryAfter > 0
	l.learnConcurrency(begun, now, a, refused)
	probe := l.rate.probe(begun)
	l.learnRate(begun, now, a, refused)
	return a.Status == http.StatusTooManyRequests && !probe
}

func (l *Limiter) learnConcurrency(begun, now time.Time, a deleter.Answer, refused bool) {
	switch {
	case a.Status == 0 && now.Sub(begun) >= l.config.Timeout:
		l.concurrency.timedOut(begun, now)
	case a.Status != 0 && a.Status < 500 && !refused: // the latency of failures and refusals says nothing
		l.concurrency.answered(begun, now)
	}
}

func (l *Limiter) learnRate(begun, now time.Time, a deleter.Answer, refused bool) {
	if a.Quota.Rate > 0 {
		l.rate.grant(a.Quota.Rate)
	}
	wait := min(max(a.RetryAfter, a.Quota.Wait), l.config.MaxWait)
	switch {
	case refused:
		l.rate.onThrottle(begun, now, wait)
		l.demand.refused(now, a.Status, l.rate.interval())
	case a.Status == 0:
		l.rate.onNoAnswer(begun)
	default:
		l.rate.onSuccess(begun)
		if wait := min(a.Quota.Wait, l.config.MaxWait); wait > 0 {
			l.rate.pause(now.Add(wait))
			l.demand.recordDelay(now, 0)
		}
	}
}

// InFlight is how many calls are in flight.
func (l *Limiter) InFlight() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// smoothed is a moving average, after one more value.
func smoothed(average, value time.Duration) time.Duration {
	if average == 0 {
		return value
	}
	return average + (value-average)/16
}
