package limiter

import (
	"context"
	"log/slog"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

// open sets the time of the next probe, with the lock held. Answers to calls that
// were in flight when the breaker opened only make a wait longer, if they ask.
func (b *Breaker) open(a deleter.Answer, wasOpen bool) {
	now := time.Now()
	if wasOpen && now.Before(b.until) {
		if at := now.Add(min(a.RetryAfter, b.policy.MaxInterval)); at.After(b.until) {
			b.until = at
		}
		return
	}
	b.opened++
	suspended := a.Verdict == deleter.CredentialRefused
	news := suspended != b.suspended
	b.suspended, b.reason = suspended, a.Message
	delay := b.delay(b.opened, a)
	b.until = now.Add(delay)
	clear(b.empty)
	b.logOpen(news, a.Status, delay)
}

// logOpen logs that the breaker opened, once for an outage and at most once a minute:
// it may open and close often while the API answers some calls. That a credential is
// refused is always news.
func (b *Breaker) logOpen(news bool, status int, delay time.Duration) {
	level, now := slog.LevelDebug, time.Now()
	if news || !b.logged && (b.loggedAt.IsZero() || now.Sub(b.loggedAt) >= reportInterval) {
		level, b.logged, b.loggedAt = slog.LevelWarn, true, now
	}
	message := "circuit breaker opened"
	if b.suspended {
		message = "lane suspended: the API refuses the credential"
	}
	b.log.Log(context.Background(), level, message, "answer", b.reason, "status", status, "next_call_in", delay.Round(time.Millisecond).String())
}

// closed logs that the breaker closed, if it was logged that it opened, and forgets
// the outage. It is called with the lock held.
func (b *Breaker) closed(message string) {
	level := slog.LevelDebug
	if b.logged {
		level = slog.LevelInfo
	}
	b.log.Log(context.Background(), level, message, "previous", b.reason)
	b.opened, b.probing, b.suspended, b.reason, b.logged = 0, 0, false, "", false
	b.doubted, b.suspectAt = 0, time.Time{}
	clear(b.empty)
}

// delay is the wait for the next probe after n of them, with the lock held.
func (b *Breaker) delay(n int, a deleter.Answer) time.Duration {
	delay := b.policy.Delay(n, 0)
	if !b.suspended {
		delay = min(delay, maxProbeInterval)
	}
	return max(delay, min(a.RetryAfter, b.policy.MaxInterval))
}
