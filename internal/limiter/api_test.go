package limiter

import (
	"math"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

// limit is a rate limit of an API. allow counts a call that is accepted, or returns how
// long no call is.
type limit interface {
	allow(now time.Time) (wait time.Duration)
	set(perSecond float64)
}

// bucket is a token bucket.
type bucket struct {
	rate, size, tokens float64
	last               time.Time
}

func (b *bucket) set(perSecond float64) { b.rate = perSecond }

func (b *bucket) allow(now time.Time) time.Duration {
	if b.last.IsZero() {
		b.tokens = b.size
	} else {
		b.tokens = min(b.size, b.tokens+now.Sub(b.last).Seconds()*b.rate)
	}
	b.last = now
	if b.tokens < 1-1e-9 {
		return seconds((1 - b.tokens) / b.rate)
	}
	b.tokens--
	return 0
}

// fixedWindow counts the calls in each second of the clock.
type fixedWindow struct {
	most, count float64
	window      time.Time
}

func (f *fixedWindow) set(perSecond float64) { f.most = perSecond }

func (f *fixedWindow) allow(now time.Time) time.Duration {
	if window := now.Truncate(time.Second); window.After(f.window) {
		f.window, f.count = window, 0
	}
	if f.count >= f.most {
		return f.window.Add(time.Second).Sub(now)
	}
	f.count++
	return 0
}

// slidingWindow counts the calls of the last second.
type slidingWindow struct {
	most  float64
	calls []time.Time
}

func (s *slidingWindow) set(perSecond float64) { s.most = perSecond }

func (s *slidingWindow) allow(now time.Time) time.Duration {
	for len(s.calls) > 0 && !s.calls[0].After(now.Add(-time.Second)) {
		s.calls = s.calls[1:]
	}
	if float64(len(s.calls)) >= s.most {
		return s.calls[0].Add(time.Second).Sub(now)
	}
	s.calls = append(s.calls, now)
	return 0
}

var (
	deleted   = deleter.Answer{Verdict: deleter.Deleted, Status: 200}
	throttled = deleter.Answer{Verdict: deleter.Retry, Status: 429, Message: "slow down"}
	busy      = deleter.Answer{Verdict: deleter.Retry, Status: 503, Message: "busy"}
)

// limitedAPI answers calls under a limit.
type limitedAPI struct {
	limit
	latency    time.Duration
	retryAfter bool
	quota      deleter.Quota // in its headers
	capacity   chan struct{} // the number of calls that it processes at the same time; nil for any

	mu              sync.Mutex
	passed, refused int
	arrived         []time.Time
}

func (a *limitedAPI) call() deleter.Answer {
	time.Sleep(a.latency / 2)
	if a.capacity != nil {
		a.capacity <- struct{}{}
		defer func() { <-a.capacity }()
	}
	wait := a.arrive()
	time.Sleep(a.latency - a.latency/2)
	if wait == 0 {
		answer := deleted
		answer.Quota = a.quota
		return answer
	}
	answer := throttled
	answer.Quota = a.quota
	if a.retryAfter {
		answer.RetryAfter = seconds(math.Ceil(wait.Seconds())) // HTTP has whole seconds
	}
	return answer
}

// arrive counts a call, and returns how long none is accepted, 0 if this one is.
func (a *limitedAPI) arrive() (wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.arrived = append(a.arrived, now)
	if wait = a.allow(now); wait == 0 {
		a.passed++
	} else {
		a.refused++
	}
	return wait
}
