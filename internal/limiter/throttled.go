package limiter

import (
	"math"
	"time"
)

// Source is where the rate of a lane's calls comes from.
type Source int

const (
	// Unlimited: no limit is known.
	Unlimited Source = iota
	// Setting: the configured rate.
	Setting
	// Granted: the API grants the rate in its RateLimit headers.
	Granted
	// Learned: the Limiter found the rate, because the API refused calls.
	Learned
)

// Pace is the current limits of a lane's calls.
type Pace struct {
	// Calls is how many may run at the same time.
	Calls int
	// PerSecond is how many may begin in a second, 0 for no limit.
	PerSecond float64
	// Source is where PerSecond comes from.
	Source Source
	// Refused is the status of the API's last refusal of a rate, and RefusedAt when
	// it came; zero if there was none.
	Refused   int
	RefusedAt time.Time
	// ThrottledSince is the time since which requests have waited for the rate, because
	// demand exceeds it. Zero if they do not wait.
	ThrottledSince time.Time
	// NextCall is when the next call may begin, if the API asked to wait for more than a
	// second.
	NextCall time.Time
}

// Pace returns the current limits.
func (l *Limiter) Pace() Pace {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	p := Pace{
		Calls: l.concurrency.limit(), PerSecond: l.rate.current(), Source: l.rate.source(),
		Refused: l.demand.status, RefusedAt: l.demand.refusedAt,
	}
	if math.IsInf(p.PerSecond, 0) {
		p.PerSecond = 0
	}
	paused := l.rate.until.Sub(now) > maxPause
	if paused {
		p.NextCall = l.rate.until
	}
	p.ThrottledSince = l.demand.throttledSince(now, l.rate.until, paused || l.rate.stopped())
	return p
}

// source is where the current rate comes from.
func (r *rate) source() Source {
	most := min(r.configured, r.granted)
	switch {
	case r.learned && r.curve(r.grown) < most:
		return Learned
	case math.IsInf(most, 0):
		return Unlimited
	case r.granted < r.configured:
		return Granted
	default:
		return Setting
	}
}

// demand records how long calls have been waiting for the rate. Demand that
// exceeds the rate for a moment is a burst; demand that exceeds it for longer means
// that requests wait.
type demand struct {
	since, last time.Time // of calls that the rate delayed, with short gaps at most
	gap         time.Duration
	status      int // of the last refusal
	refusedAt   time.Time
}

const (
	// burst is how long calls may wait for the rate before that counts.
	burst = 3 * time.Second
	// shortGap is how long no call may have waited for the rate until that counts as
	// the end. It is longer where calls are rare.
	shortGap = 5 * time.Second
)

// recordDelay records a call that the rate delayed. interval is the time between two calls.
func (d *demand) recordDelay(now time.Time, interval time.Duration) {
	if now.Sub(d.last) > d.gap {
		d.since = now
	}
	d.last, d.gap = now, max(shortGap, min(3*interval, time.Hour))
}

// refused records that the API refused a call because of its rate.
func (d *demand) refused(now time.Time, status int, interval time.Duration) {
	d.recordDelay(now, interval)
	d.status, d.refusedAt = status, now
}

// throttledSince is since when requests have waited for the rate, zero if they do not. No
// call may begin before paused. stopped: the API accepts no calls.
func (d *demand) throttledSince(now, paused time.Time, stopped bool) time.Time {
	end := d.last
	if paused.After(end) {
		end = paused
	}
	if d.since.IsZero() || !now.Before(end.Add(d.gap)) || !stopped && d.last.Sub(d.since) < burst {
		return time.Time{}
	}
	return d.since
}
