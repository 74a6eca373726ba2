package limiter

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

func testBreaker() *Breaker {
	return NewBreaker(Policy{InitialInterval: time.Second, Multiplier: 2, MaxInterval: time.Hour})
}

func mustAllow(t *testing.T, b *Breaker, want bool) (probe int) {
	t.Helper()
	probe, may := b.Allow(false)
	if may != want {
		t.Fatalf("a call is allowed: %v, want %v", may, want)
	}
	return probe
}

// mustCall makes a call, which is answered at once.
func mustCall(t *testing.T, b *Breaker, a deleter.Answer) {
	t.Helper()
	probe := mustAllow(t, b, true)
	b.Record(a, Call{})
	b.Release(probe)
}

// mustOpen opens the breaker by failures.
func mustOpen(t *testing.T, b *Breaker) {
	t.Helper()
	for range failuresToOpen {
		mustCall(t, b, busy)
	}
	mustAllow(t, b, false)
}

// asking returns a failure with a Retry-After.
func asking(wait time.Duration) deleter.Answer {
	a := busy
	a.RetryAfter = wait
	return a
}

// waited returns how long Wait took, and whether it is for a probe.
func waited(t *testing.T, b *Breaker) (time.Duration, bool) {
	t.Helper()
	before := time.Now()
	probe, err := b.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(before), probe
}

func TestBreaker(t *testing.T) {
	retry, ok := busy, deleted
	unauthorized := deleter.Answer{Verdict: deleter.CredentialRefused, Status: 401, Message: "who are you"}

	for name, test := range map[string]func(t *testing.T, b *Breaker){
		"single failures do not open it": func(t *testing.T, b *Breaker) {
			for range 10 * failuresToOpen {
				mustCall(t, b, retry)
				mustCall(t, b, ok)
			}
			if d, probe := waited(t, b); d != 0 || probe {
				t.Errorf("waited %v, probe %v", d, probe)
			}
		},
		"failures in a row open it, one call at a time probes, and a success closes it": func(t *testing.T, b *Breaker) {
			mustOpen(t, b)
			mustAllow(t, b, false)
			if s := b.State(); s.Closed || s.Suspended || s.Reason != "busy" {
				t.Errorf("%+v", s)
			}
			if d, probe := waited(t, b); d != time.Second || !probe {
				t.Errorf("waited %v, probe %v", d, probe)
			}
			probe := mustAllow(t, b, true)
			mustAllow(t, b, false)
			b.Record(retry, Call{})
			b.Release(probe)
			if d, _ := waited(t, b); d != 2*time.Second {
				t.Errorf("the second wait is %v", d)
			}
			mustCall(t, b, ok)
			mustAllow(t, b, true)
			mustAllow(t, b, true)
		},
		"a long outage is probed every half minute": func(t *testing.T, b *Breaker) {
			mustOpen(t, b)
			for range 20 {
				waited(t, b)
				mustCall(t, b, retry)
			}
			if d, _ := waited(t, b); d != maxProbeInterval {
				t.Errorf("waited %v", d)
			}
		},
		"a refused credential suspends the lane at once, for the time of the backoff": func(t *testing.T, b *Breaker) {
			mustCall(t, b, unauthorized)
			if s := b.State(); !s.Suspended || s.Reason != "who are you" {
				t.Errorf("%+v", s)
			}
			for range 20 {
				waited(t, b)
				mustCall(t, b, unauthorized)
			}
			if d, _ := waited(t, b); d != time.Hour {
				t.Errorf("waited %v", d)
			}
		},
		"after a 403 calls are single, and many in a row suspend the lane": func(t *testing.T, b *Breaker) {
			refused := deleter.Answer{Verdict: deleter.CredentialRefused, Status: 403, Message: "not yours"}
			for range refusalsToSuspend - 1 {
				mustCall(t, b, refused)
			}
			mustCall(t, b, ok) // resets the count
			for range refusalsToSuspend - 1 {
				probe := mustAllow(t, b, true)
				b.Record(refused, Call{})
				b.Release(probe)
				if _, single := waited(t, b); !single {
					t.Fatal("more than one request is fetched")
				}
				if s := b.State(); !s.Closed || !b.SingleRequests() || b.Allows(probe) {
					t.Fatalf("%+v, single requests %v", s, b.SingleRequests())
				}
				probe = mustAllow(t, b, true)
				mustAllow(t, b, false) // one at a time
				b.Record(refused, Call{RefusedAlone: true})
				b.Release(probe)
			}
			mustCall(t, b, refused)
			if s := b.State(); !s.Suspended || s.Reason != "not yours" {
				t.Errorf("%+v", s)
			}
		},
		"a changed credential is tried at once": func(t *testing.T, b *Breaker) {
			mustCall(t, b, unauthorized)
			done := make(chan time.Duration)
			go func() { d, _ := waited(t, b); done <- d }()
			synctest.Wait()
			b.ProbeNow()
			if d := <-done; d != 0 {
				t.Errorf("waited %v", d)
			}
			mustCall(t, b, ok)
			if s := b.State(); !s.Closed {
				t.Errorf("%+v", s)
			}
		},
		"throttling that the limiter handles opens nothing": func(t *testing.T, b *Breaker) {
			for range 10 * failuresToOpen {
				b.Record(throttled, Call{Throttled: true})
			}
			mustAllow(t, b, true)
		},
		"throttling that persists although the limiter slows down is a failure": func(t *testing.T, b *Breaker) {
			for range failuresToOpen {
				mustCall(t, b, throttled)
			}
			mustAllow(t, b, false)
			if s := b.State(); s.Closed || s.Suspended {
				t.Errorf("%+v", s)
			}
		},
		"a throttled probe opens it again": func(t *testing.T, b *Breaker) {
			mustOpen(t, b)
			waited(t, b)
			probe := mustAllow(t, b, true)
			b.Record(throttled, Call{Throttled: true})
			b.Release(probe)
			if d, _ := waited(t, b); d != 2*time.Second {
				t.Errorf("waited %v", d)
			}
		},
		"a Retry-After makes the wait longer, up to the longest interval": func(t *testing.T, b *Breaker) {
			mustOpen(t, b)
			for asked, want := range map[time.Duration]time.Duration{7 * time.Minute: 7 * time.Minute, 10 * 365 * 24 * time.Hour: time.Hour} {
				waited(t, b)
				mustCall(t, b, asking(asked))
				if d, _ := waited(t, b); d != want {
					t.Errorf("waited %v, want %v", d, want)
				}
			}
		},
		"a late answer with a longer Retry-After makes the wait longer": func(t *testing.T, b *Breaker) {
			mustOpen(t, b)
			b.Record(asking(9*time.Second), Call{})
			b.Record(asking(7*time.Second), Call{})
			if d, _ := waited(t, b); d != 9*time.Second {
				t.Errorf("waited %v", d)
			}
		},
		"a success of an earlier call closes it, once the wait is over": func(t *testing.T, b *Breaker) {
			mustOpen(t, b)
			b.Record(ok, Call{})
			if s := b.State(); s.Closed || s.Suspended {
				t.Errorf("%+v", s)
			}
			if d, _ := waited(t, b); d != time.Second {
				t.Errorf("waited %v", d)
			}
			b.Record(ok, Call{})
			if s := b.State(); !s.Closed {
				t.Errorf("%+v", s)
			}
		},
		"a released probe allows the next one": func(t *testing.T, b *Breaker) {
			mustCall(t, b, unauthorized)
			waited(t, b)
			b.Release(mustAllow(t, b, true))
			if d, _ := waited(t, b); d != 0 {
				t.Errorf("waited %v", d)
			}
			mustAllow(t, b, true)
		},
		"a released probe wakes who waits": func(t *testing.T, b *Breaker) {
			mustCall(t, b, unauthorized)
			waited(t, b)
			probe := mustAllow(t, b, true)
			done := make(chan time.Duration)
			go func() { d, _ := waited(t, b); done <- d }()
			time.Sleep(time.Second)
			b.Release(probe)
			if d := <-done; d != time.Second {
				t.Errorf("waited %v", d)
			}
		},
		"only a probe's own call ends it": func(t *testing.T, b *Breaker) {
			before, slow := mustAllow(t, b, true), mustAllow(t, b, true)
			mustCall(t, b, unauthorized)
			waited(t, b)
			probe := mustAllow(t, b, true)
			b.Release(before) // made no call
			mustAllow(t, b, false)
			b.Record(retry, Call{}) // the answer to an earlier call
			b.Release(slow)
			mustAllow(t, b, false)
			time.Sleep(time.Until(b.until))
			mustAllow(t, b, false)
			b.Release(probe)
			mustAllow(t, b, true)
		},
		"a probe that has closed it does not end a later one": func(t *testing.T, b *Breaker) {
			mustCall(t, b, unauthorized)
			waited(t, b)
			first := mustAllow(t, b, true)
			b.Record(ok, Call{})
			mustCall(t, b, unauthorized) // while further calls are made on the first permission
			waited(t, b)
			second := mustAllow(t, b, true)
			b.Release(first)
			mustAllow(t, b, false)
			b.Release(second)
			mustAllow(t, b, true)
		},
		"while it is blocked nothing is fetched": func(t *testing.T, b *Breaker) {
			b.Block(true)
			mustAllow(t, b, false)
			go func() { time.Sleep(time.Minute); b.Block(false) }()
			if d, _ := waited(t, b); d != time.Minute {
				t.Errorf("waited %v", d)
			}
		},
		"waiting ends with its context": func(t *testing.T, b *Breaker) {
			b.Block(true)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := b.Wait(ctx); err == nil {
				t.Error("no error")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, testBreaker()) })
		})
	}
}

func TestAnAcceptanceCountsForItsCredentialOnly(t *testing.T) {
	b, at := testBreaker(), time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	record := func(v deleter.Verdict, status, credential int, since time.Time) {
		b.Record(deleter.Answer{Verdict: v, Status: status, Credential: credential}, Call{Since: since})
	}
	record(deleter.Deleted, 200, 1, at)
	if got := b.Accepted().Since(1); !got.Equal(at) {
		t.Errorf("accepted at %s", got)
	}
	if got := b.Accepted().Since(2); !got.IsZero() {
		t.Errorf("another credential is accepted at %s", got)
	}
	later := at.Add(time.Second)
	record(deleter.Deleted, 200, 2, later)
	record(deleter.Deleted, 200, 1, later.Add(time.Hour)) // an answer that came late
	record(deleter.Retry, 503, 2, later.Add(time.Hour))
	record(deleter.CredentialRefused, 403, 2, later.Add(time.Hour))
	if got := b.Accepted().Since(2); !got.Equal(later) {
		t.Errorf("accepted at %s", got)
	}
}

// Without a request for a probe, a breaker would stay open until the next publish.
func TestAnOpenBreakerClosesWithoutARequestToProbeWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBreaker()
		mustOpen(t, b)
		b.Found("requests", false)
		b.Found("later", false)
		if b.State().Closed {
			t.Error("closed before its wait is over")
		}
		waited(t, b)
		b.Found("requests", false)
		b.Found("later", true)
		b.Found("requests", false)
		if b.State().Closed {
			t.Error("closed though a retry waits")
		}
		b.Found("later", false)
		if !b.State().Closed {
			t.Error("open though no request waits")
		}
	})
}

func TestARequestRefusedAloneOpensNothingAndProbesOnItsOwnBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, refused := testBreaker(), Call{RefusedAlone: true}
		for range 10 * failuresToOpen {
			b.Record(deleter.Answer{Verdict: deleter.Retry, Status: 410}, refused)
			b.Record(deleter.Answer{Verdict: deleter.CredentialRefused, Status: 403}, refused)
		}
		if at, open := b.NextRefusedAloneProbe(); open || !at.IsZero() {
			t.Fatalf("open %v, requests refused alone wait until %s", open, at)
		}
		mustOpen(t, b)
		waited(t, b)
		probe, may := b.Allow(true)
		if !may {
			t.Fatal("a request refused alone may not probe")
		}
		b.Record(deleter.Answer{Verdict: deleter.Retry, Status: 410}, refused)
		b.Release(probe)
		if _, may := b.Allow(true); may {
			t.Error("a request refused alone may probe again at once")
		}
		if at, open := b.NextRefusedAloneProbe(); !open || time.Until(at) != time.Second {
			t.Errorf("open %v, requests refused alone wait for %s", open, time.Until(at))
		}
		b.Release(mustAllow(t, b, true)) // another request may
	})
}

// The state tells an operator since when the API fails, and its last answer.
func TestAnOpenBreakerSaysSinceWhenAndWhatTheLastAnswerWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBreaker()
		mustOpen(t, b)
		opened := time.Now()
		waited(t, b)
		mustCall(t, b, deleter.Answer{Verdict: deleter.Retry, Status: 502, Message: "bad gateway"})
		if s := b.State(); !s.Since.Equal(opened) || s.Status != 502 || s.Reason != "bad gateway" || !s.NextProbe.After(time.Now()) {
			t.Errorf("after a probe that failed: %+v", s)
		}
		waited(t, b)
		mustCall(t, b, deleter.Answer{Verdict: deleter.CredentialRefused, Status: 401})
		if s := b.State(); !s.Since.Equal(time.Now()) || !s.Suspended || s.Status != 401 {
			t.Errorf("after a refused credential: %+v", s)
		}
		waited(t, b)
		mustCall(t, b, deleted)
		if s := b.State(); s != (State{Closed: true}) {
			t.Errorf("after a success: %+v", s)
		}
	})
}

// A call that was bisected, or a batch, is made of further calls on one permission.
func TestAFurtherCallNeedsTheBreakerAsTheFirstOneDid(t *testing.T) {
	forbidden := deleter.Answer{Verdict: deleter.CredentialRefused, Status: 403}
	for name, c := range map[string]struct {
		before func(t *testing.T, b *Breaker) (probe int)
		may    bool
		single bool
	}{
		"closed":                  {func(*testing.T, *Breaker) int { return 0 }, true, false},
		"blocked":                 {func(_ *testing.T, b *Breaker) int { b.Block(true); return 0 }, false, false},
		"no longer blocked":       {func(_ *testing.T, b *Breaker) int { b.Block(true); b.Block(false); return 0 }, true, false},
		"open":                    {func(t *testing.T, b *Breaker) int { mustOpen(t, b); return 0 }, false, true},
		"open, its wait is over":  {func(t *testing.T, b *Breaker) int { mustOpen(t, b); waited(t, b); return 0 }, false, true},
		"open, the probe":         {func(t *testing.T, b *Breaker) int { mustOpen(t, b); waited(t, b); return mustAllow(t, b, true) }, true, true},
		"open, a probe of others": {func(t *testing.T, b *Breaker) int { mustOpen(t, b); waited(t, b); mustAllow(t, b, true); return 0 }, false, true},
		"open, the probe, blocked": {func(t *testing.T, b *Breaker) int {
			mustOpen(t, b)
			waited(t, b)
			b.Block(true)
			b.Block(false)
			p := mustAllow(t, b, true)
			b.Block(true)
			return p
		}, false, true},
		"after a 403":               {func(t *testing.T, b *Breaker) int { mustCall(t, b, forbidden); return 0 }, false, true},
		"after a 403, the next one": {func(t *testing.T, b *Breaker) int { mustCall(t, b, forbidden); return mustAllow(t, b, true) }, true, true},
		"accepted after a 403":      {func(t *testing.T, b *Breaker) int { mustCall(t, b, forbidden); mustCall(t, b, deleted); return 0 }, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := testBreaker()
				probe := c.before(t, b)
				if may, single := b.Allows(probe), b.SingleRequests(); may != c.may || single != c.single {
					t.Errorf("allowed %v, want %v; single %v, want %v", may, c.may, single, c.single)
				}
			})
		})
	}
}

// The other stream may hold a request that a probe is being made with.
func TestAnOpenBreakerStaysOpenWhileItProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBreaker()
		mustOpen(t, b)
		waited(t, b)
		b.Found("requests", false)
		probe := mustAllow(t, b, true)
		b.Found("later", false)
		if b.State().Closed {
			t.Error("closed while a probe is in flight")
		}
		b.Release(probe)
		b.Found("later", false)
		if b.State().Closed {
			t.Error("closed by what was seen before the probe")
		}
	})
}

// What an outage taught is forgotten, so that the next one begins with the first wait.
func TestABreakerThatClosedWithoutARequestBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBreaker()
		mustOpen(t, b)
		for range 3 {
			waited(t, b)
			mustCall(t, b, busy)
		}
		waited(t, b)
		b.Found("requests", false)
		b.Found("later", false)
		mustOpen(t, b)
		if d, _ := waited(t, b); d != time.Second {
			t.Errorf("waited %v", d)
		}
	})
}

func TestARequestRefusedAloneProbesNoEarlierThanOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBreaker()
		mustOpen(t, b)
		if at, open := b.NextRefusedAloneProbe(); !open || time.Until(at) != time.Second {
			t.Errorf("open %v, it waits for %s", open, time.Until(at))
		}
	})
}
