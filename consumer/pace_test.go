package consumer

import (
	"context"
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

// testClaim is how long it takes to store an attempt.
const testClaim = 3 * time.Millisecond

func testPace(perSecond float64) *pace {
	return newPace(testConcurrency, perSecond, time.Minute, time.Hour, testLog())
}

// keepBusy has a pace make calls, as many as it can, until ctx ends.
func keepBusy(ctx context.Context, p *pace, call func() deleter.Answer) {
	var work sync.WaitGroup
	for range 2 * testConcurrency {
		work.Go(func() {
			for p.enter(ctx) == nil {
				time.Sleep(testClaim)
				p.claimed(testClaim)
				if begun, err := p.take(ctx); err == nil {
					p.learn(begun, call())
				}
				p.leave()
			}
		})
	}
	work.Wait()
}

// measure runs for a time and returns how much of the limit was used, and which
// part of the calls was refused.
func measure(t *testing.T, p *pace, a *limitedAPI, perSecond float64, d time.Duration) (used, refused float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	passed, calls, begun := a.passed, a.passed+a.refused, time.Now()
	keepBusy(ctx, p, a.call)
	allowed := time.Since(begun).Seconds() * perSecond
	return float64(a.passed-passed) / allowed, float64(a.refused-(calls-passed)) / float64(a.passed+a.refused-calls)
}

func TestTheRateThatAnAPIAllowsIsFoundAndUsed(t *testing.T) {
	for rate, latency := range map[float64]time.Duration{50: 100 * time.Millisecond, 500: 20 * time.Millisecond, 1000: time.Millisecond} {
		for name, limit := range map[string]func() limiter{
			"bucket of 1":        func() limiter { return &bucket{rate: rate, size: 1} },
			"bucket of 10":       func() limiter { return &bucket{rate: rate, size: 10} },
			"bucket of 50":       func() limiter { return &bucket{rate: rate, size: 50} },
			"bucket of a second": func() limiter { return &bucket{rate: rate, size: rate} },
			"fixed window":       func() limiter { return &fixedWindow{most: rate} },
			"sliding window":     func() limiter { return &slidingWindow{most: rate} },
		} {
			for _, retryAfter := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v a second, %s, Retry-After %v", rate, name, retryAfter), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						a := &limitedAPI{limiter: limit(), latency: latency, retryAfter: retryAfter}
						p := testPace(0)
						measure(t, p, a, rate, seconds(max(45, 6000/rate))) // it has to find it
						used, refused := measure(t, p, a, rate, time.Minute)
						t.Logf("%.1f %% of the rate is used, %.2f %% of calls are refused", used*100, refused*100)
						if used < 0.95 || refused > 0.01 {
							t.Errorf("%.1f %% of the rate is used, %.2f %% of calls are refused", used*100, refused*100)
						}
					})
				})
			}
		}
	}
}

// A backlog of 10,000 requests against `lethe sandbox --rate 500`.
func TestABacklogGoesAtTheRateThatItsAPIAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &limitedAPI{limiter: &bucket{rate: 500, size: 500}, latency: 2 * time.Millisecond, retryAfter: true}
		used, refused := measure(t, testPace(0), a, 500, 20*time.Second)
		if used < 0.95 || refused > 0.01 {
			t.Errorf("%.1f %% of the rate is used, %.2f %% of calls are refused", used*100, refused*100)
		}
	})
}

func TestNoCallWaitsForAClaim(t *testing.T) {
	for _, latency := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 10 * time.Second} {
		t.Run(latency.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := testPace(0)
				var out, most, ahead, made atomic.Int64
				run := func(calls int) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(calls)*latency)
					defer cancel()
					keepBusy(ctx, p, func() deleter.Answer {
						most.Store(max(most.Load(), out.Add(1)))
						p.mu.Lock()
						ahead.Store(max(ahead.Load(), int64(len(p.places)-p.withheld-p.breadth.limit())))
						p.mu.Unlock()
						time.Sleep(latency)
						out.Add(-1)
						made.Add(1)
						return deleter.Answer{Verdict: deleter.Deleted, Status: 200}
					})
				}
				run(20) // it begins with few
				before := made.Load()
				run(100)
				if used := float64(made.Load()-before) / (100 * testConcurrency); used < 0.98 {
					t.Errorf("%.1f %% of the calls that could be out were", used*100)
				}
				if most.Load() != testConcurrency {
					t.Errorf("%d calls were out", most.Load())
				}
				if latency > time.Second && ahead.Load() > 0 {
					t.Errorf("%d requests were claimed for calls far away", ahead.Load())
				}
			})
		})
	}
}

// While one call tries whether the API lets calls through again, nobody else can
// have a turn, however long its answer takes.
func TestNobodyEntersWhileACallTriesTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPace(0)
		refused := deleter.Answer{Verdict: deleter.Retry, Status: 429}
		begun, err := p.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.learn(begun, refused)
		if begun, err = p.take(t.Context()); err != nil { // it tries
			t.Fatal(err)
		}
		enters := func() bool {
			soon, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := p.enter(soon)
			if err == nil {
				p.leave()
			}
			return err == nil
		}
		if enters() {
			t.Error("somebody enters")
		}
		p.learn(begun, deleter.Answer{Verdict: deleter.Deleted, Status: 200})
		if !enters() {
			t.Error("nobody enters after the answer")
		}
	})
}

// What a lane with little to do has called says nothing of what the API allows.
func TestALaneWithLittleToDoKeepsItsSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPace(0)
		one := func(a deleter.Answer) {
			if p.enter(t.Context()) != nil {
				t.Fatal("no place")
			}
			begun, err := p.take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.learn(begun, a)
			p.leave()
		}
		done, refused := deleter.Answer{Verdict: deleter.Deleted, Status: 200}, deleter.Answer{Verdict: deleter.Retry, Status: 429}
		for range 5 {
			one(refused) // somebody else uses the same quota
			for range 120 {
				time.Sleep(time.Minute)
				one(done)
			}
		}
		a := &limitedAPI{limiter: &bucket{rate: 1e9, size: 1e9}, latency: 20 * time.Millisecond}
		used, _ := measure(t, p, a, 100, time.Minute) // a backlog comes
		if used < 1 {
			t.Errorf("of an API without a limit %.1f calls a second were used", used*100)
		}
	})
}

// A turn that comes too late was a claim too early.
func TestNobodyIsClaimedAheadOfAnAPIThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPace(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		keepBusy(ctx, p, func() deleter.Answer {
			time.Sleep(10 * time.Millisecond)
			return deleter.Answer{Verdict: deleter.Deleted, Status: 200}
		})
		if p.admitted() <= testConcurrency {
			t.Fatalf("%d may enter where calls are quick", p.admitted())
		}
		for range testConcurrency { // these hang
			if _, err := p.take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		soon, cancel := context.WithTimeout(t.Context(), leaseSlack)
		defer cancel()
		if _, err := p.take(soon); err == nil {
			t.Fatal("more calls are out than may be")
		}
		if p.admitted() != testConcurrency {
			t.Errorf("%d may enter", p.admitted())
		}
	})
}

func TestARateIsNeverExceeded(t *testing.T) {
	for name, c := range map[string]struct {
		configured, granted, allowed float64
	}{
		"configured":                        {100, 0, 100},
		"configured, and granted more":      {100, 500, 100},
		"granted":                           {0, 100, 100},
		"configured, and granted less":      {500, 100, 100},
		"less than one a second":            {0.5, 0, 0.5},
		"granted next to nothing, or never": {0, 1e-300, 1. / 3600},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &limitedAPI{limiter: &bucket{rate: 1e9, size: 1e9}, latency: 30 * time.Millisecond}
				p := testPace(c.configured)
				p.speed.granted = max(c.granted, p.speed.least)
				if c.granted == 0 {
					p.speed.granted = math.Inf(1)
				}
				d := seconds(100 / c.allowed)
				used, _ := measure(t, p, a, c.allowed, d)
				if used < 0.95 || used > 1.01 {
					t.Errorf("%.1f %% of the rate is used", used*100)
				}
				for i := range len(a.arrived) - 10 {
					if span := a.arrived[i+10].Sub(a.arrived[i]); span < seconds(10/c.allowed)-oversleep {
						t.Errorf("eleven calls in %v", span)
					}
				}
			})
		})
	}
}

func TestARateThatHeadersTellIsKeptFromTheFirstAnswersOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &limitedAPI{limiter: &bucket{rate: 500, size: 50}, latency: 20 * time.Millisecond}
		used, refused := measure(t, testPace(0), a, 500, 20*time.Second)
		told := &limitedAPI{limiter: &bucket{rate: 500, size: 50}, latency: 20 * time.Millisecond, quota: deleter.Quota{Rate: 500}}
		usedTold, refusedTold := measure(t, testPace(0), told, 500, 20*time.Second)
		if usedTold < 0.98 || usedTold < used || refusedTold > 0 || refused == 0 {
			t.Errorf("%.1f %% of the rate is used, %.2f %% of calls are refused; untold %.1f and %.2f", usedTold*100, refusedTold*100, used*100, refused*100)
		}
	})
}

func TestWhereNothingRemainsNoCallIsMadeForAsLongAsTheLaneMayBeStopped(t *testing.T) {
	for name, c := range map[string]struct{ asked, want time.Duration }{
		"a minute":  {time.Minute, time.Minute},
		"centuries": {math.MaxInt64, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := testPace(0)
				begun, err := p.take(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				answer := answerDeleted
				answer.Quota.Wait = c.asked
				p.learn(begun, answer)
				again, err := p.take(t.Context())
				if err != nil || again.Sub(begun) != c.want {
					t.Errorf("the next call is made after %v, %v", again.Sub(begun), err)
				}
			})
		})
	}
}

func TestALimitThatChangesIsFollowed(t *testing.T) {
	for name, limit := range map[string]func() limiter{
		"bucket of 10":   func() limiter { return &bucket{size: 10} },
		"sliding window": func() limiter { return &slidingWindow{} },
	} {
		for _, retryAfter := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, Retry-After %v", name, retryAfter), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					a := &limitedAPI{limiter: limit(), latency: 10 * time.Millisecond, retryAfter: retryAfter}
					p := testPace(0)
					for _, rate := range []float64{200, 100, 400} {
						a.limit(rate)
						measure(t, p, a, rate, 100*time.Second)
						used, refused := measure(t, p, a, rate, time.Minute)
						if used < 0.95 || refused > 0.01 {
							t.Errorf("of %v a second %.1f %% are used, %.2f %% of calls are refused", rate, used*100, refused*100)
						}
					}
				})
			})
		}
	}
}

func TestFaultsDoNotSlowALaneDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &limitedAPI{limiter: &bucket{rate: 1e9, size: 1e9}, latency: 100 * time.Millisecond}
		p, n := testPace(0), atomic.Int64{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		keepBusy(ctx, p, func() deleter.Answer {
			answer := a.call()
			if n.Add(1)%20 == 0 {
				return deleter.Answer{Verdict: deleter.Retry, Status: 503}
			}
			return answer
		})
		if calls, rate := p.state(); calls != testConcurrency || rate != 0 {
			t.Errorf("%d calls at the same time, %v a second", calls, rate)
		}
	})
}

func TestFewerCallsAreMadeAtTheSameTimeWhereTheyTakeLonger(t *testing.T) {
	for name, troubled := range map[string]func(*limitedAPI) func() deleter.Answer{
		"time-outs": func(*limitedAPI) func() deleter.Answer {
			return func() deleter.Answer {
				time.Sleep(time.Minute)
				return deleter.Answer{Verdict: deleter.Retry, Message: "no whole answer in time"}
			}
		},
		"latency": func(a *limitedAPI) func() deleter.Answer {
			a.latency, a.capacity = 4*time.Second, make(chan struct{}, 8)
			return a.call
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &limitedAPI{limiter: &bucket{rate: 1e9, size: 1e9}, latency: 400 * time.Millisecond}
				p := testPace(0)
				run := func(d time.Duration, call func() deleter.Answer) (calls int) {
					ctx, cancel := context.WithTimeout(t.Context(), d)
					defer cancel()
					keepBusy(ctx, p, call)
					calls, _ = p.state()
					return calls
				}
				if calls := run(time.Minute, a.call); calls != testConcurrency {
					t.Errorf("%d calls at the same time while all is well", calls)
				}
				if calls := run(5*time.Minute, troubled(a)); calls > testConcurrency*3/4 {
					t.Errorf("%d calls at the same time in trouble", calls)
				}
				a.latency, a.capacity = 400*time.Millisecond, nil
				if calls := run(5*time.Minute, a.call); calls != testConcurrency {
					t.Errorf("%d calls at the same time after it", calls)
				}
			})
		})
	}
}
