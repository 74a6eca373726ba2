package limiter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

const testConcurrency = 64

// testClaim is how long it takes to claim a request.
const testClaim = 3 * time.Millisecond

func testLimiter(perSecond float64) *Limiter {
	return New(Config{Concurrency: testConcurrency, Rate: perSecond, Timeout: time.Minute, MaxWait: time.Hour})
}

// keepBusy makes as many calls as the limiter allows, until ctx ends.
func keepBusy(ctx context.Context, l *Limiter, call func() deleter.Answer) {
	var work sync.WaitGroup
	for range 2 * testConcurrency {
		work.Go(func() {
			for l.Acquire(ctx) == nil {
				time.Sleep(testClaim)
				l.Claimed(testClaim)
				if begun, err := l.Wait(ctx, time.Time{}); err == nil {
					l.Learn(begun, call())
				}
				l.Release()
			}
		})
	}
	work.Wait()
}

// measure makes calls for a time. It returns the used part of the limit, and the refused
// part of the calls.
func measure(t *testing.T, l *Limiter, a *limitedAPI, perSecond float64, d time.Duration) (used, refused float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	passed, calls, begun := a.passed, a.passed+a.refused, time.Now()
	keepBusy(ctx, l, a.call)
	allowed := time.Since(begun).Seconds() * perSecond
	return float64(a.passed-passed) / allowed, float64(a.refused-(calls-passed)) / float64(a.passed+a.refused-calls)
}

// Every few seconds one or two calls test whether the limit still applies. At a low rate
// these are a larger part of the calls.
func TestTheRateThatAnAPIAllowsIsFoundAndUsed(t *testing.T) {
	for _, c := range []struct {
		rate    float64
		latency time.Duration
		refused float64 // at most
	}{
		{10, 10 * time.Millisecond, 0.06},
		{50, 100 * time.Millisecond, 0.03},
		{500, 2 * time.Millisecond, 0.01},
		{1000, 20 * time.Millisecond, 0.01},
	} {
		for name, limit := range limitsOf(c.rate) {
			for _, retryAfter := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v a second, %s, Retry-After %v", c.rate, name, retryAfter), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						a := &limitedAPI{limit: limit(), latency: c.latency, retryAfter: retryAfter}
						l := testLimiter(0)
						measure(t, l, a, c.rate, 20*time.Second) // finds the rate
						used, refused := measure(t, l, a, c.rate, seconds(max(10, 3000/c.rate)))
						if used < 0.95 || refused > c.refused {
							t.Errorf("%.1f %% of the rate is used, %.2f %% of calls are refused", used*100, refused*100)
						}
					})
				})
			}
		}
	}
}

func limitsOf(rate float64) map[string]func() limit {
	return map[string]func() limit{
		"bucket of 1":        func() limit { return &bucket{rate: rate, size: 1} },
		"bucket of 10":       func() limit { return &bucket{rate: rate, size: 10} },
		"bucket of 50":       func() limit { return &bucket{rate: rate, size: 50} },
		"bucket of a second": func() limit { return &bucket{rate: rate, size: rate} },
		"fixed window":       func() limit { return &fixedWindow{most: rate} },
		"sliding window":     func() limit { return &slidingWindow{most: rate} },
	}
}

// The first calls are made at full speed, because no limit is known yet.
func TestAnAPIWithoutBurstsIsUsedFromTheStart(t *testing.T) {
	for _, rate := range []float64{5, 10, 100} {
		for _, retryAfter := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v a second, Retry-After %v", rate, retryAfter), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := &limitedAPI{limit: &bucket{rate: rate, size: 1}, latency: 10 * time.Millisecond, retryAfter: retryAfter}
					l := testLimiter(0)
					first, _ := measure(t, l, a, rate, 30*time.Second)
					then, _ := measure(t, l, a, rate, time.Minute)
					if first < 0.8 || then < 0.95 {
						t.Errorf("%.1f %% of the rate is used in the first 30 s, then %.1f %%", first*100, then*100)
					}
				})
			})
		}
	}
}

// In the eleventh second, 90 % of the demand is met, whatever the rate was.
func TestALimitThatIsLiftedIsNoticed(t *testing.T) {
	const demand = 500.
	for _, rate := range []float64{2, 50} {
		for name, limit := range limitsOf(rate) {
			for _, retryAfter := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v a second, %s, Retry-After %v", rate, name, retryAfter), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						a := &limitedAPI{limit: limit(), latency: 100 * time.Millisecond, retryAfter: retryAfter}
						l := testLimiter(0)
						measure(t, l, a, rate, 41*time.Second)
						a.limit = &bucket{rate: 1e9, size: 1e9}
						measure(t, l, a, demand, 10*time.Second)
						if used, _ := measure(t, l, a, demand, time.Second); used < 0.9 {
							t.Errorf("%.0f calls a second are made, the demand is %v", used*demand, demand)
						}
					})
				})
			}
		}
	}
}

func TestAnAPIThatRefusesEverythingGetsSingleCalls(t *testing.T) {
	for name, c := range map[string]struct {
		answer deleter.Answer
		apart  time.Duration
	}{
		"no Retry-After":             {throttled, maxPause},
		"a short one":                {asksFor(time.Second), time.Second},
		"a long one":                 {asksFor(30 * time.Second), 30 * time.Second},
		"more than the longest wait": {asksFor(24 * time.Hour), time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, calls, failures := testLimiter(0), 0, 0
				last := time.Time{}
				for range 40 {
					begun, err := l.Wait(t.Context(), time.Time{})
					if err != nil {
						t.Fatal(err)
					}
					if calls++; calls > 10 && begun.Sub(last) < c.apart {
						t.Errorf("call %d is made after %v", calls, begun.Sub(last))
					}
					last = begun
					if !l.Learn(begun, c.answer) {
						failures++
					}
				}
				if failures < 35 {
					t.Errorf("of %d refusals only %d are failures of the API", calls, failures)
				}
			})
		})
	}
}

// A Retry-After of more than a second is respected, even if the API lets other calls through.
func TestALongRetryAfterIsRespected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(0)
		first, _ := l.Wait(t.Context(), time.Time{})
		second, _ := l.Wait(t.Context(), time.Time{})
		l.Learn(first, asksFor(7*time.Second))
		l.Learn(second, asksFor(9*time.Second)) // was in flight already
		if next := l.Pace().NextCall; next.Sub(first) != 9*time.Second {
			t.Errorf("the next call is planned for %s", next)
		}
		if begun, _ := l.Wait(t.Context(), time.Time{}); begun.Sub(first) != 9*time.Second {
			t.Errorf("the next call is made after %v", begun.Sub(first))
		}
	})
}

func asksFor(wait time.Duration) deleter.Answer {
	a := throttled
	a.RetryAfter = wait
	return a
}

func TestACallPastItsDeadlineIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(0.1)
		if _, err := l.Wait(t.Context(), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		go func() { _, _ = l.Wait(t.Context(), time.Time{}) }() // takes the next turn
		synctest.Wait()
		for range 2 {
			if _, err := l.Wait(t.Context(), before.Add(time.Second)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the turn comes, or fails with %v", err)
			}
		}
		if d := time.Since(before); d != time.Second {
			t.Errorf("given up after %v", d)
		}
		time.Sleep(time.Minute) // until the other call has begun
		if _, err := testLimiter(0).Wait(t.Context(), time.Now()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call begins too late, %v", err)
		}
	})
}

// A backlog of 10,000 requests against `lethe sandbox --rate 500`.
func TestABacklogIsProcessedAtTheRateThatTheAPIAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &limitedAPI{limit: &bucket{rate: 500, size: 500}, latency: 2 * time.Millisecond, retryAfter: true}
		used, refused := measure(t, testLimiter(0), a, 500, 20*time.Second)
		if used < 0.95 || refused > 0.01 {
			t.Errorf("%.1f %% of the rate is used, %.2f %% of calls are refused", used*100, refused*100)
		}
	})
}

func TestNoCallWaitsForAClaim(t *testing.T) {
	for _, latency := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 10 * time.Second} {
		t.Run(latency.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := testLimiter(0)
				var out, most, ahead, made atomic.Int64
				run := func(calls int) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(calls)*latency)
					defer cancel()
					keepBusy(ctx, l, func() deleter.Answer {
						most.Store(max(most.Load(), out.Add(1)))
						l.mu.Lock()
						ahead.Store(max(ahead.Load(), int64(l.acquired-l.concurrency.limit())))
						l.mu.Unlock()
						time.Sleep(latency)
						out.Add(-1)
						made.Add(1)
						return deleted
					})
				}
				run(20) // slow start
				before := made.Load()
				run(100)
				if used := float64(made.Load()-before) / (100 * testConcurrency); used < 0.98 {
					t.Errorf("%.1f %% of the allowed calls were in flight", used*100)
				}
				if most.Load() != testConcurrency {
					t.Errorf("%d calls were in flight", most.Load())
				}
				if latency > time.Second && ahead.Load() > 0 {
					t.Errorf("%d requests were claimed long before their calls", ahead.Load())
				}
			})
		})
	}
}

// While a probe is in flight no other call begins, however long its answer takes.
func TestNoSlotIsGivenWhileAProbeIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(0)
		begun, err := l.Wait(t.Context(), time.Time{})
		for range 2 { // the third call is a probe
			if err != nil {
				t.Fatal(err)
			}
			l.Learn(begun, throttled)
			begun, err = l.Wait(t.Context(), time.Time{})
		}
		if err != nil {
			t.Fatal(err)
		}
		acquired := func() bool {
			soon, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := l.Acquire(soon)
			if err == nil {
				l.Release()
			}
			return err == nil
		}
		if acquired() {
			t.Error("a slot is given")
		}
		l.Learn(begun, deleted)
		if !acquired() {
			t.Error("no slot is given after the answer")
		}
	})
}

// The calls of a lane with little load do not tell what the API allows.
func TestALaneWithLittleLoadKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(0)
		one := func(a deleter.Answer) {
			if l.Acquire(t.Context()) != nil {
				t.Fatal("no slot")
			}
			begun, err := l.Wait(t.Context(), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			l.Learn(begun, a)
			l.Release()
		}
		done, refused := deleted, throttled
		for range 5 {
			one(refused) // another client uses the same quota
			for range 120 {
				time.Sleep(time.Minute)
				one(done)
			}
		}
		a := &limitedAPI{limit: &bucket{rate: 1e9, size: 1e9}, latency: 20 * time.Millisecond}
		used, _ := measure(t, l, a, 100, 15*time.Second) // a backlog
		if used < 1 {
			t.Errorf("an API without a limit got %.1f calls a second", used*100)
		}
	})
}

// If a turn does not come before its deadline, its slot was given too early.
func TestNothingIsClaimedAheadOfAnAPIThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimiter(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		keepBusy(ctx, l, func() deleter.Answer {
			time.Sleep(10 * time.Millisecond)
			return deleted
		})
		if l.slots() <= testConcurrency {
			t.Fatalf("%d slots while calls are quick", l.slots())
		}
		for range testConcurrency { // these hang
			if _, err := l.Wait(t.Context(), time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := l.Wait(soon, time.Time{}); err == nil {
			t.Fatal("more calls are in flight than allowed")
		}
		if l.slots() != testConcurrency {
			t.Errorf("%d slots, want %d", l.slots(), testConcurrency)
		}
	})
}

func TestARateIsNeverExceeded(t *testing.T) {
	for name, c := range map[string]struct {
		configured, granted, allowed float64
	}{
		"configured":                   {100, 0, 100},
		"configured, and granted more": {100, 500, 100},
		"granted":                      {0, 100, 100},
		"configured, and granted less": {500, 100, 100},
		"less than one a second":       {0.5, 0, 0.5},
		"granted nearly nothing":       {0, 1e-300, 1. / 3600},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &limitedAPI{limit: &bucket{rate: 1e9, size: 1e9}, latency: 30 * time.Millisecond}
				l := testLimiter(c.configured)
				l.rate.granted = max(c.granted, l.rate.minimum)
				if c.granted == 0 {
					l.rate.granted = math.Inf(1)
				}
				d := seconds(100 / c.allowed)
				used, _ := measure(t, l, a, c.allowed, d)
				if used < 0.95 || used > 1.01 {
					t.Errorf("%.1f %% of the rate is used", used*100)
				}
				for i := range len(a.arrived) - 10 {
					if span := a.arrived[i+10].Sub(a.arrived[i]); span < seconds(10/c.allowed)-timerSlack {
						t.Errorf("eleven calls in %v", span)
					}
				}
			})
		})
	}
}

func TestARateInHeadersIsRespectedFromTheFirstAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &limitedAPI{limit: &bucket{rate: 500, size: 50}, latency: 20 * time.Millisecond}
		used, refused := measure(t, testLimiter(0), a, 500, 20*time.Second)
		granting := &limitedAPI{limit: &bucket{rate: 500, size: 50}, latency: 20 * time.Millisecond, quota: deleter.Quota{Rate: 500}}
		usedGranted, refusedGranted := measure(t, testLimiter(0), granting, 500, 20*time.Second)
		if usedGranted < 0.98 || refusedGranted > 0 || refused == 0 {
			t.Errorf("%.1f %% of the rate is used, %.2f %% of calls are refused; without headers %.1f and %.2f", usedGranted*100, refusedGranted*100, used*100, refused*100)
		}
	})
}

func TestAnExhaustedQuotaIsWaitedForUpToMaxWait(t *testing.T) {
	for name, c := range map[string]struct{ asked, want time.Duration }{
		"a minute":  {time.Minute, time.Minute},
		"centuries": {math.MaxInt64, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := testLimiter(0)
				begun, err := l.Wait(t.Context(), time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				answer := deleted
				answer.Quota.Wait = c.asked
				l.Learn(begun, answer)
				again, err := l.Wait(t.Context(), time.Time{})
				if err != nil || again.Sub(begun) != c.want {
					t.Errorf("the next call is made after %v, %v", again.Sub(begun), err)
				}
			})
		})
	}
}

func TestALimitThatChangesIsFollowed(t *testing.T) {
	for name, limit := range map[string]func() limit{
		"bucket of 10":   func() limit { return &bucket{size: 10} },
		"sliding window": func() limit { return &slidingWindow{} },
	} {
		for _, retryAfter := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, Retry-After %v", name, retryAfter), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					a := &limitedAPI{limit: limit(), latency: 10 * time.Millisecond, retryAfter: retryAfter}
					l := testLimiter(0)
					for _, rate := range []float64{200, 100, 400} {
						a.set(rate)
						measure(t, l, a, rate, 30*time.Second)
						used, refused := measure(t, l, a, rate, 30*time.Second)
						if used < 0.95 || refused > 0.01 {
							t.Errorf("of %v a second %.1f %% are used, %.2f %% of calls are refused", rate, used*100, refused*100)
						}
					}
				})
			})
		}
	}
}

func TestFailuresDoNotLowerTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &limitedAPI{limit: &bucket{rate: 1e9, size: 1e9}, latency: 100 * time.Millisecond}
		l, n := testLimiter(0), atomic.Int64{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		keepBusy(ctx, l, func() deleter.Answer {
			answer := a.call()
			if n.Add(1)%20 == 0 {
				return busy
			}
			return answer
		})
		if p := l.Pace(); p.Calls != testConcurrency || p.PerSecond != 0 {
			t.Errorf("%d calls at the same time, %v a second", p.Calls, p.PerSecond)
		}
	})
}

func TestConcurrencyDecreasesWhenCallsTakeLonger(t *testing.T) {
	for name, slow := range map[string]func(*limitedAPI) func() deleter.Answer{
		"time-outs": func(*limitedAPI) func() deleter.Answer {
			return func() deleter.Answer {
				time.Sleep(time.Minute)
				return deleter.Answer{Verdict: deleter.Retry, Message: "no complete answer within the timeout"}
			}
		},
		"latency": func(a *limitedAPI) func() deleter.Answer {
			a.latency, a.capacity = 4*time.Second, make(chan struct{}, 8)
			return a.call
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &limitedAPI{limit: &bucket{rate: 1e9, size: 1e9}, latency: 400 * time.Millisecond}
				l := testLimiter(0)
				run := func(d time.Duration, call func() deleter.Answer) int {
					ctx, cancel := context.WithTimeout(t.Context(), d)
					defer cancel()
					keepBusy(ctx, l, call)
					return l.Pace().Calls
				}
				if calls := run(time.Minute, a.call); calls != testConcurrency {
					t.Errorf("%d calls at the same time while the API is quick", calls)
				}
				if calls := run(5*time.Minute, slow(a)); calls > testConcurrency*3/4 {
					t.Errorf("%d calls at the same time while the API is slow", calls)
				}
				a.latency, a.capacity = 400*time.Millisecond, nil
				if calls := run(5*time.Minute, a.call); calls != testConcurrency {
					t.Errorf("%d calls at the same time once the API is quick again", calls)
				}
			})
		})
	}
}
