package consumer

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

func testBreaker() *breaker {
	return newBreaker(Policy{InitialInterval: time.Second, Multiplier: 2, MaxInterval: time.Hour}, slog.New(slog.DiscardHandler))
}

func mustAllow(t *testing.T, b *breaker, want bool) (probe int) {
	t.Helper()
	probe, may := b.allow(false)
	if may != want {
		t.Fatalf("a call is allowed: %v, want %v", may, want)
	}
	return probe
}

// mustCall makes a call that has an answer.
func mustCall(t *testing.T, b *breaker, a deleter.Answer) {
	t.Helper()
	probe := mustAllow(t, b, true)
	b.record(a, caller{})
	b.release(probe)
}

// waited is how long wait takes.
func waited(t *testing.T, b *breaker) (time.Duration, bool) {
	t.Helper()
	before := time.Now()
	probe, err := b.wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(before), probe
}

func TestBreaker(t *testing.T) {
	retry := deleter.Answer{Verdict: deleter.Retry, Status: 503, Message: "busy"}
	ok := deleter.Answer{Verdict: deleter.Deleted, Status: 200}
	hold := deleter.Answer{Verdict: deleter.Hold, Status: 401, Message: "who are you"}

	for name, test := range map[string]func(t *testing.T, b *breaker){
		"single troubles do not open it": func(t *testing.T, b *breaker) {
			for range 10 * failuresToOpen {
				mustCall(t, b, retry)
				mustCall(t, b, ok)
			}
			if d, probe := waited(t, b); d != 0 || probe {
				t.Errorf("waited %v, probe %v", d, probe)
			}
		},
		"troubles in a row open it, one call at a time probes, and an answer closes it": func(t *testing.T, b *breaker) {
			for range failuresToOpen {
				mustCall(t, b, retry)
			}
			mustAllow(t, b, false)
			if status, why, _ := b.state(); status != StatusOpen || why != "busy" {
				t.Errorf("%s because %q", status, why)
			}
			if d, probe := waited(t, b); d != time.Second || !probe {
				t.Errorf("waited %v, probe %v", d, probe)
			}
			probe := mustAllow(t, b, true)
			mustAllow(t, b, false)
			b.record(retry, caller{})
			b.release(probe)
			if d, _ := waited(t, b); d != 2*time.Second {
				t.Errorf("the second wait is %v", d)
			}
			mustCall(t, b, ok)
			mustAllow(t, b, true)
			mustAllow(t, b, true)
		},
		"a long outage is probed every half a minute": func(t *testing.T, b *breaker) {
			for range failuresToOpen {
				mustCall(t, b, retry)
			}
			for range 20 {
				waited(t, b)
				mustCall(t, b, retry)
			}
			if d, _ := waited(t, b); d != maxProbeInterval {
				t.Errorf("waited %v", d)
			}
		},
		"a refused credential holds at once, for as long as the backoff says": func(t *testing.T, b *breaker) {
			mustCall(t, b, hold)
			if status, why, _ := b.state(); status != StatusHeld || why != "who are you" {
				t.Errorf("%s because %q", status, why)
			}
			for range 20 {
				waited(t, b)
				mustCall(t, b, hold)
			}
			if d, _ := waited(t, b); d != time.Hour {
				t.Errorf("waited %v", d)
			}
		},
		"a 403 has single calls made, and many in a row hold": func(t *testing.T, b *breaker) {
			refused := deleter.Answer{Verdict: deleter.Hold, Status: 403, Message: "not yours"}
			for range refusalsToSuspend - 1 {
				mustCall(t, b, refused)
			}
			mustCall(t, b, ok) // which begins the row again
			for range refusalsToSuspend - 1 {
				probe := mustAllow(t, b, true)
				b.record(refused, caller{})
				b.release(probe)
				if status, _, _ := b.state(); status != StatusRunning || !b.doubts() || b.goesOn(probe) {
					t.Fatalf("%s, single calls %v", status, b.doubts())
				}
				probe = mustAllow(t, b, true)
				mustAllow(t, b, false) // one at a time
				b.record(refused, caller{suspect: true})
				b.release(probe)
			}
			mustCall(t, b, refused)
			if status, why, _ := b.state(); status != StatusHeld || why != "not yours" {
				t.Errorf("%s because %q", status, why)
			}
		},
		"a changed credential is tried at once": func(t *testing.T, b *breaker) {
			mustCall(t, b, hold)
			done := make(chan time.Duration)
			go func() { d, _ := waited(t, b); done <- d }()
			synctest.Wait()
			b.retry()
			if d := <-done; d != 0 {
				t.Errorf("waited %v", d)
			}
			mustCall(t, b, ok)
			if status, _, _ := b.state(); status != StatusRunning {
				t.Error(status)
			}
		},
		"a wish to slow down that names no time is a trouble like others": func(t *testing.T, b *breaker) {
			for range failuresToOpen {
				mustCall(t, b, deleter.Answer{Verdict: deleter.Retry, Status: 429})
			}
			mustAllow(t, b, false)
			if status, _, _ := b.state(); status != StatusOpen {
				t.Error(status)
			}
		},
		"the API's wish to slow down is obeyed at once, to the longest interval": func(t *testing.T, b *breaker) {
			mustCall(t, b, deleter.Answer{Verdict: deleter.Retry, Status: 429, RetryAfter: 7 * time.Second})
			if d, _ := waited(t, b); d != 7*time.Second {
				t.Errorf("waited %v", d)
			}
			mustCall(t, b, deleter.Answer{Verdict: deleter.Retry, Status: 429, RetryAfter: 10 * 365 * 24 * time.Hour})
			if d, _ := waited(t, b); d != time.Hour {
				t.Errorf("waited %v", d)
			}
		},
		"a late answer that asks for more makes the wait longer": func(t *testing.T, b *breaker) {
			mustAllow(t, b, true)
			mustCall(t, b, deleter.Answer{Verdict: deleter.Retry, Status: 429, RetryAfter: 7 * time.Second})
			b.record(deleter.Answer{Verdict: deleter.Retry, Status: 429, RetryAfter: 9 * time.Second}, caller{})
			if d, _ := waited(t, b); d != 9*time.Second {
				t.Errorf("waited %v", d)
			}
		},
		"an answer to a call that was permitted before closes it, once the wait is over": func(t *testing.T, b *breaker) {
			for range 3 {
				mustAllow(t, b, true)
			}
			b.record(deleter.Answer{Verdict: deleter.Retry, Status: 429, RetryAfter: 7 * time.Second}, caller{})
			b.record(ok, caller{})
			if status, _, _ := b.state(); status != StatusOpen {
				t.Errorf("%s before the wait is over", status)
			}
			if d, _ := waited(t, b); d != 7*time.Second {
				t.Errorf("waited %v", d)
			}
			b.record(ok, caller{})
			if status, _, _ := b.state(); status != StatusRunning {
				t.Errorf("%s after it", status)
			}
		},
		"a permission that is given back lets the next probe out": func(t *testing.T, b *breaker) {
			mustCall(t, b, hold)
			waited(t, b)
			b.release(mustAllow(t, b, true))
			if d, _ := waited(t, b); d != 0 {
				t.Errorf("waited %v", d)
			}
			mustAllow(t, b, true)
		},
		"who is no probe ends none": func(t *testing.T, b *breaker) {
			before, slow := mustAllow(t, b, true), mustAllow(t, b, true)
			mustCall(t, b, hold)
			waited(t, b)
			probe := mustAllow(t, b, true)
			b.release(before) // its turn did not come
			mustAllow(t, b, false)
			b.record(retry, caller{}) // to a call that was out
			b.release(slow)
			mustAllow(t, b, false)
			time.Sleep(time.Until(b.until))
			mustAllow(t, b, false)
			b.release(probe)
			mustAllow(t, b, true)
		},
		"a probe that has closed it ends no later one": func(t *testing.T, b *breaker) {
			mustCall(t, b, hold)
			waited(t, b)
			first := mustAllow(t, b, true)
			b.record(ok, caller{})
			mustCall(t, b, hold) // while the first one's further calls are made
			waited(t, b)
			second := mustAllow(t, b, true)
			b.release(first)
			mustAllow(t, b, false)
			b.release(second)
			mustAllow(t, b, true)
		},
		"while it is blocked nothing is taken": func(t *testing.T, b *breaker) {
			b.block("the stream is gone")
			mustAllow(t, b, false)
			if status, why, _ := b.state(); status != StatusHeld || why != "the stream is gone" {
				t.Errorf("%s because %q", status, why)
			}
			go func() { time.Sleep(time.Minute); b.block("") }()
			if d, _ := waited(t, b); d != time.Minute {
				t.Errorf("waited %v", d)
			}
		},
		"waiting ends with its context": func(t *testing.T, b *breaker) {
			b.block("for ever")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := b.wait(ctx); err == nil {
				t.Error("no error")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, testBreaker()) })
		})
	}
}
