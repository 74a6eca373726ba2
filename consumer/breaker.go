package consumer

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/lethe-dev/lethe/deleter"
)

// failuresToOpen is how many retry-class answers in a row open the breaker.
const failuresToOpen = 10

// maxProbeInterval is the longest that an open breaker waits for its next
// probe: one call in half a minute harms no API, and an outage's end is noticed
// soon. A hold's probes have no such cap, for a wrong credential tried often
// can lock an account.
const maxProbeInterval = 30 * time.Second

// breaker says whether the lane may call. It opens after repeated retry-class
// answers, at once when the API asks to wait (429 with Retry-After; how fast the
// lane is after it, the pace knows), and at once when the credential is refused
// (401, 403): then it says that the lane is held. While it is open nothing is
// taken; after a wait a single call probes, and the first answer of another kind
// closes it.
//
// Counting and half-opening are failsafe-go's; how long to wait is the lane's
// backoff policy and the API's Retry-After, which that library can't be told.
type breaker struct {
	policy Policy
	log    *slog.Logger

	mu      sync.Mutex
	circuit circuitbreaker.CircuitBreaker[any]
	probes  int           // that were ever permitted
	probing int           // which of them is out, 0 for none
	opened  int           // times in a row that it opened
	until   time.Time     // when to probe next
	held    bool          // opened by a refused credential
	why     string        // the answer that opened it
	blocked string        // why nothing may be taken at all, "" when it may
	changed chan struct{} // closed and replaced at each change
}

func newBreaker(p Policy, log *slog.Logger) *breaker {
	return &breaker{
		policy: p,
		log:    log,
		circuit: circuitbreaker.NewBuilder[any]().
			WithFailureThreshold(failuresToOpen).
			WithSuccessThreshold(1).
			WithDelay(0). // until is the delay
			Build(),
		changed: make(chan struct{}),
	}
}

// wait returns when something may be taken, and whether it is for a probe, of
// which there is one at a time. It fails only when ctx ends.
func (b *breaker) wait(ctx context.Context) (probe bool, err error) {
	for {
		b.mu.Lock()
		free, wake, changed := b.free(), time.Until(b.until), b.changed
		probe = !b.circuit.IsClosed()
		b.mu.Unlock()
		if free {
			return probe, ctx.Err()
		}
		if wake <= 0 {
			wake = time.Hour // only a change can help
		}
		timer := time.NewTimer(wake)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false, ctx.Err()
		case <-changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// allow says whether a call may be made, and if it is a probe, which: 0 for none.
// Whoever may call must release the probe afterwards.
func (b *breaker) allow() (probe int, may bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.free() || !b.circuit.TryAcquirePermit() {
		return 0, false
	}
	if b.circuit.IsHalfOpen() {
		b.probes++
		b.probing = b.probes
		probe = b.probing
	}
	return probe, true
}

// free is called with the lock held.
func (b *breaker) free() bool {
	return b.blocked == "" && b.probing == 0 && (b.circuit.IsClosed() || !time.Now().Before(b.until))
}

// release ends a probe, if it is still out.
func (b *breaker) release(probe int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe == 0 || probe != b.probing {
		return
	}
	if b.circuit.IsHalfOpen() { // no call was made
		b.circuit.Open() // half-open again at the next allow, for until has passed
	}
	b.probing = 0
	b.notify()
}

// record learns from the answer to a call, be it a probe or not.
func (b *breaker) record(a deleter.Answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wasOpen := !b.circuit.IsClosed()
	failed := true
	switch {
	case a.Verdict == deleter.Hold || a.Status == http.StatusTooManyRequests && a.RetryAfter > 0:
		b.circuit.RecordFailure()
		b.circuit.Open()
	case a.Verdict == deleter.Retry && !a.UnknownStatus:
		b.circuit.RecordFailure()
	case b.circuit.IsOpen() && !time.Now().Before(b.until):
		b.circuit.Close() // by a call that was permitted before, and is made as late as a probe
		failed = false
	default:
		b.circuit.RecordSuccess()
		failed = false
	}
	switch {
	case failed && b.circuit.IsOpen():
		b.open(a, wasOpen)
	case wasOpen && b.circuit.IsClosed():
		b.log.Info("the API answers again, the lane goes on", "was", b.why)
		b.opened, b.probing, b.held, b.why = 0, 0, false, ""
	}
	b.notify()
}

// open sets the time of the next probe, with the lock held. Answers to calls
// that were out when the breaker opened only make a wait longer, if they ask.
func (b *breaker) open(a deleter.Answer, wasOpen bool) {
	now := time.Now()
	if wasOpen && now.Before(b.until) {
		if at := now.Add(min(a.RetryAfter, b.policy.MaxInterval)); at.After(b.until) {
			b.until = at
		}
		return
	}
	b.opened++
	b.held = a.Verdict == deleter.Hold
	b.why = a.Message
	delay := b.policy.Delay(b.opened, 0)
	if !b.held {
		delay = min(delay, maxProbeInterval)
	}
	delay = max(delay, min(a.RetryAfter, b.policy.MaxInterval))
	b.until = now.Add(delay)
	what := "the API is in trouble, the lane waits"
	if b.held {
		what = "the credential is refused, the lane is held"
	}
	b.log.Warn(what, "answer", b.why, "status", a.Status, "next_call_in", delay.Round(time.Millisecond))
}

// retry lets the next probe out at once, because the credential has changed.
func (b *breaker) retry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Now()
	b.notify()
}

// block keeps the lane from taking anything, until it is called with "".
func (b *breaker) block(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if why != b.blocked && why != "" {
		b.log.Error("the lane is held", "why", why)
	}
	if why != b.blocked && why == "" {
		b.log.Info("the lane goes on", "was", b.blocked)
	}
	b.blocked = why
	b.notify()
}

// state reports for humans.
func (b *breaker) state() (status Status, why string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.blocked != "":
		return StatusHeld, b.blocked, time.Time{}
	case b.circuit.IsClosed():
		return StatusRunning, "", time.Time{}
	case b.held:
		return StatusHeld, b.why, b.until
	default:
		return StatusOpen, b.why, b.until
	}
}

func (b *breaker) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}
