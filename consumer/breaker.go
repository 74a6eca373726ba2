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

// refusalsToSuspend is how many different requests in a row the API refuses with
// 403 until that is taken for the credential, and no longer for them.
const refusalsToSuspend = 20

// maxProbeInterval is the longest that an open breaker waits for its next
// probe: one call in half a minute harms no API, and an outage's end is noticed
// soon. A hold's probes have no such cap, for a wrong credential tried often
// can lock an account.
const maxProbeInterval = 30 * time.Second

// breaker says whether the lane may call. It opens after repeated retry-class
// answers, at once when the API asks to wait (429 with Retry-After; how fast the
// lane is after it, the pace knows), and when the credential is refused: then it
// says that the lane is held. A 401 is about the credential. A 403 can be about one
// request: from the first one on single calls are made, until the credential is
// accepted again or so many different requests are refused that it must be the
// reason. While the breaker is open nothing is taken; after a wait a single call
// probes, and the first answer of another kind closes it.
//
// What a suspect request is answered, which the API has refused before, may be
// about that request alone. It opens nothing and makes no wait longer, and such a
// request is the probe only on a backoff of its own.
//
// Counting and half-opening are failsafe-go's; how long to wait is the lane's
// backoff policy and the API's Retry-After, which that library can't be told.
type breaker struct {
	policy Policy
	log    *slog.Logger

	mu      sync.Mutex
	circuit circuitbreaker.CircuitBreaker[any]
	probes  int             // that were ever permitted
	probing int             // which of them is out, 0 for none
	opened  int             // times in a row that it opened
	until   time.Time       // when to probe next
	held    bool            // opened by a refused credential
	why     string          // the answer that opened it
	refused int             // different requests in a row, since the credential was accepted
	good    acceptance      // the last one
	doubted int             // probes by suspect requests, in a row
	suspect time.Time       // when one of them may probe next
	empty   map[string]bool // streams in which no probe was found since the wait is over
	blocked string          // why nothing may be taken at all, "" when it may
	changed chan struct{}   // closed and replaced at each change
}

// acceptance is a call in which the API accepted a credential. The zero value is none.
type acceptance struct {
	credential int       // its version
	since      time.Time // when the call began, by the server's clock
}

// of is when the call began, if it was made with this credential, else zero.
func (a acceptance) of(credential int) time.Time {
	if credential != a.credential {
		return time.Time{}
	}
	return a.since
}

// caller says for whom a call was made.
type caller struct {
	shared  bool      // for more than one request
	suspect bool      // for one that is suspect
	since   time.Time // when it began, by the server's clock
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
		empty:   map[string]bool{},
		changed: make(chan struct{}),
	}
}

// wait returns when something may be taken, and whether it is for a probe, of
// which there is one at a time. It fails only when ctx ends.
func (b *breaker) wait(ctx context.Context) (probe bool, err error) {
	for {
		b.mu.Lock()
		free, wake, changed := b.free(), time.Until(b.until), b.changed
		probe = !b.circuit.IsClosed() || b.refused > 0
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

// allow says whether a call may be made for a request, suspect or not, and if it is
// a probe, which: 0 for none. Whoever may call must release the probe afterwards.
func (b *breaker) allow(suspect bool) (probe int, may bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.free() || suspect && !b.circuit.IsClosed() && time.Now().Before(b.suspect) || !b.circuit.TryAcquirePermit() {
		return 0, false
	}
	if b.circuit.IsHalfOpen() || b.refused > 0 {
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

// goesOn says whether a further call may be made on the permission that was given
// with this probe.
func (b *breaker) goesOn(probe int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.blocked == "" && (b.circuit.IsClosed() && b.refused == 0 || probe != 0 && probe == b.probing)
}

// doubts says whether calls are to be made for single requests.
func (b *breaker) doubts() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused > 0 || !b.circuit.IsClosed()
}

// suspectAt says, where the breaker is open, when a suspect request may probe.
func (b *breaker) suspectAt() (at time.Time, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at = b.suspect
	if b.until.After(at) {
		at = b.until
	}
	return at, !b.circuit.IsClosed()
}

// accepted returns the last call in which a credential was accepted.
func (b *breaker) accepted() acceptance {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.good
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
func (b *breaker) record(a deleter.Answer, of caller) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.notify()
	if a.Verdict != deleter.Hold && a.Verdict != deleter.Retry {
		b.refused = 0
		if a.Credential >= b.good.credential {
			b.good = acceptance{a.Credential, of.since}
		}
	}
	wasOpen := !b.circuit.IsClosed()
	switch b.weigh(a, of) {
	case saysNothing:
		if of.suspect && wasOpen {
			b.doubted++
			b.suspect = time.Now().Add(b.delay(b.doubted, a))
		}
		return
	case failsAtOnce:
		b.circuit.RecordFailure()
		b.circuit.Open()
	case fails:
		b.circuit.RecordFailure()
	case succeeds:
		if b.circuit.IsOpen() && !time.Now().Before(b.until) {
			b.circuit.Close() // by a call that was permitted before, and is made as late as a probe
		} else {
			b.circuit.RecordSuccess()
		}
		if wasOpen && b.circuit.IsClosed() {
			b.log.Info("the API answers again, the lane goes on", "was", b.why)
			b.close()
		}
		return
	}
	if b.circuit.IsOpen() {
		b.open(a, wasOpen)
	}
}

// weight is what an answer means for the lane.
type weight int

const (
	succeeds    weight = iota // the API works, and accepts the credential
	fails                     // one of those that open the breaker together
	failsAtOnce               // it opens the breaker
	saysNothing               // it can be about the request alone
)

// weigh is called with the lock held.
func (b *breaker) weigh(a deleter.Answer, of caller) weight {
	switch {
	case a.Verdict == deleter.Hold && a.Status == 0: // the credential cannot be read
		return failsAtOnce
	case a.Verdict == deleter.Hold && of.suspect:
		return saysNothing
	case a.Verdict == deleter.Hold && a.Status != http.StatusForbidden:
		return failsAtOnce
	case a.Verdict == deleter.Hold:
		if b.refused++; b.refused >= refusalsToSuspend || b.held {
			return failsAtOnce
		}
		return saysNothing
	case a.Status == http.StatusTooManyRequests && a.RetryAfter > 0:
		return failsAtOnce
	case a.Verdict == deleter.Retry && divisible(a) && (of.shared || of.suspect):
		return saysNothing
	case a.Verdict == deleter.Retry:
		return fails
	default:
		return succeeds
	}
}

// close is called with the lock held, after the circuit is closed.
func (b *breaker) close() {
	b.opened, b.probing, b.held, b.why = 0, 0, false, ""
	b.doubted, b.suspect = 0, time.Time{}
	clear(b.empty)
}

// found notes whether a pull of a probe from one of the two streams found one.
// The breaker closes once its wait is over and nothing is in either: then only
// a new request can tell how the API is.
func (b *breaker) found(stream string, some bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if some || b.circuit.IsClosed() || b.probing != 0 || time.Now().Before(b.until) {
		clear(b.empty)
		return
	}
	b.empty[stream] = true
	if len(b.empty) < 2 {
		return
	}
	b.log.Info("nothing waits, the lane goes on", "was", b.why)
	b.circuit.Close()
	b.close()
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
	delay := b.delay(b.opened, a)
	b.until = now.Add(delay)
	clear(b.empty)
	what := "the API is in trouble, the lane waits"
	if b.held {
		what = "the credential is refused, the lane is held"
	}
	b.log.Warn(what, "answer", b.why, "status", a.Status, "next_call_in", delay.Round(time.Millisecond).String())
}

// delay is the wait for the next probe after n of them, with the lock held.
func (b *breaker) delay(n int, a deleter.Answer) time.Duration {
	delay := b.policy.Delay(n, 0)
	if !b.held {
		delay = min(delay, maxProbeInterval)
	}
	return max(delay, min(a.RetryAfter, b.policy.MaxInterval))
}

// retry lets the next probe out at once, because the credential has changed.
func (b *breaker) retry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until, b.suspect, b.doubted = time.Now(), time.Time{}, 0
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
