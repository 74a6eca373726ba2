package limiter

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

// callNow makes a call that is answered at once.
func callNow(t *testing.T, l *Limiter, a deleter.Answer) {
	t.Helper()
	begun, err := l.Wait(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	l.Learn(begun, a)
}

func TestALaneIsThrottledWhileItsDemandExceedsTheRate(t *testing.T) {
	granted := deleter.Answer{Verdict: deleter.Deleted, Status: 200, Quota: deleter.Quota{Rate: 10}}
	refused := deleter.Answer{Verdict: deleter.Retry, Status: 429}
	for name, c := range map[string]struct {
		rate    float64
		calls   func(*testing.T, *Limiter)
		source  Source
		refused int
		since   time.Duration // ago; 0 for not throttled
	}{
		"no call": {},
		"a burst under the setting": {rate: 10, source: Setting, calls: func(t *testing.T, l *Limiter) {
			for range 20 {
				callNow(t, l, deleted)
			}
		}},
		"more than the setting allows": {rate: 10, source: Setting, since: 10 * time.Second, calls: func(t *testing.T, l *Limiter) {
			for begun := time.Now(); time.Since(begun) < 10*time.Second; {
				callNow(t, l, deleted)
			}
		}},
		"as much as the setting allows, some time ago": {rate: 10, source: Setting, calls: func(t *testing.T, l *Limiter) {
			for range 100 {
				callNow(t, l, deleted)
			}
			time.Sleep(shortGap)
		}},
		"more than the API grants": {source: Granted, since: 10 * time.Second, calls: func(t *testing.T, l *Limiter) {
			callNow(t, l, granted)
			for begun := time.Now(); time.Since(begun) < 10*time.Second; {
				callNow(t, l, granted)
			}
		}},
		"a long Retry-After": {source: Learned, refused: 429, since: time.Minute, calls: func(t *testing.T, l *Limiter) {
			asked := refused
			asked.RetryAfter = 5 * time.Minute
			callNow(t, l, asked)
			time.Sleep(time.Minute)
		}},
		"a refusal without more demand": {source: Learned, refused: 429, calls: func(t *testing.T, l *Limiter) {
			callNow(t, l, refused)
			time.Sleep(time.Minute)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := testLimiter(c.rate)
				if c.calls != nil {
					c.calls(t, l)
				}
				p := l.Pace()
				if p.Source != c.source || p.Refused != c.refused || p.ThrottledSince.IsZero() != (c.since == 0) {
					t.Errorf("%+v", p)
				}
				if ago := time.Since(p.ThrottledSince); c.since > 0 && (ago-c.since).Abs() > 200*time.Millisecond {
					t.Errorf("throttled since %s ago, want %s", ago, c.since)
				}
			})
		})
	}
}
