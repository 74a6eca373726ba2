package limiter

import (
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

// open sets the time of the next probe, with the lock held. The answer to a call that
// was in flight when the breaker opened only makes the wait longer, by its Retry-After.
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
	if !wasOpen || suspended != b.suspended {
		b.since = now
	}
	b.suspended, b.status, b.reason = suspended, a.Status, a.Message
	b.until = now.Add(b.delay(b.opened, a))
	clear(b.empty)
}

// closed resets what is known about the outage, with the lock held.
func (b *Breaker) closed() {
	b.opened, b.probing, b.suspended, b.status, b.reason, b.since = 0, 0, false, 0, "", time.Time{}
	b.refusedAloneProbes, b.refusedAloneAt = 0, time.Time{}
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
