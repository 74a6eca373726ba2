package limiter

import (
	"context"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// failuresToOpen is how many failures in a row open the breaker.
const failuresToOpen = 10

// refusalsToSuspend is how many different requests in a row the API must refuse with
// 403 before the credential counts as the reason, not the requests.
const refusalsToSuspend = 20

// maxProbeInterval is the longest wait of an open breaker before its next probe: a
// call every half minute is no load for an API, and the end of an outage is noticed
// soon. Probes of a refused credential have no such cap, because repeated use of a
// wrong credential can lock an account.
const maxProbeInterval = 30 * time.Second

// Breaker decides whether the lane may call. It opens after repeated failures, and
// suspends the lane when the credential is refused: at once by a 401, which is
// about the credential; by a 403, which can be about one request, when many
// different requests are refused. From the first 403 until the credential is
// accepted again, calls are made one at a time and for single requests.
//
// While the breaker is open nothing is fetched. After a wait a single call probes;
// a success closes the breaker, and a failure makes the next wait longer.
//
// A request is refused alone if the API refused it before in a way that may be about
// that request only. The answer to its next call does not open the breaker and makes no
// wait longer, and it probes only on a backoff of its own.
//
// failsafe-go counts failures and half-opens. It fixes the delay when a breaker opens,
// but here a later answer can make the wait longer and a new credential ends it, so the
// Breaker keeps the time of the next probe itself.
//
// It is safe for concurrent use.
type Breaker struct {
	policy Policy

	mu                 sync.Mutex
	circuit            circuitbreaker.CircuitBreaker[any]
	probes             int             // permitted so far
	probing            int             // the number of the probe in flight, 0 for none
	opened             int             // times in a row that it opened
	until              time.Time       // when to probe next
	suspended          bool            // opened by a refused credential
	status             int             // of the answer that opened it, or of the last probe
	reason             string          // what that answer said
	since              time.Time       // when it opened, or the credential was refused first
	refused            int             // different requests in a row, since the credential was accepted
	accepted           Acceptance      // the last one
	refusedAloneProbes int             // probes by requests refused alone, in a row
	refusedAloneAt     time.Time       // when such a request may probe next
	empty              map[string]bool // streams in which no probe was found after the wait
	blocked            bool            // nothing may be fetched at all
	changed            chan struct{}   // closed and replaced at each change
}

// Acceptance is a call in which the API accepted a credential. The zero value is none.
type Acceptance struct {
	credential int // its version
	since      time.Time
}

// Since is when the call began, by the server's clock, if it was made with this
// credential; else zero.
func (a Acceptance) Since(credential int) time.Time {
	if credential != a.credential {
		return time.Time{}
	}
	return a.since
}

// NewBreaker returns a closed breaker, which waits between probes as p says.
func NewBreaker(p Policy) *Breaker {
	return &Breaker{
		policy: p,
		circuit: circuitbreaker.NewBuilder[any]().
			WithFailureThreshold(failuresToOpen).
			WithSuccessThreshold(1).
			WithDelay(0). // until is the delay
			Build(),
		empty:   map[string]bool{},
		changed: make(chan struct{}),
	}
}

// Wait waits until requests may be fetched. probe reports whether only one may be, for
// a probe. It fails only when ctx ends.
func (b *Breaker) Wait(ctx context.Context) (probe bool, err error) {
	for {
		b.mu.Lock()
		free, wake, changed := b.free(), time.Until(b.until), b.changed
		probe = !b.circuit.IsClosed() || b.refused > 0
		b.mu.Unlock()
		if free {
			return probe, ctx.Err()
		}
		if wake <= 0 {
			wake = time.Hour // only a change ends the wait
		}
		sleep(ctx, wake, changed)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
}

// Allow reports whether a call may be made for a request. refusedAlone: the API refused
// that request alone before. probe is the number of the probe if the call is one, else 0.
// A caller that may call must Release the probe afterwards.
func (b *Breaker) Allow(refusedAlone bool) (probe int, may bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.free() || refusedAlone && !b.circuit.IsClosed() && time.Now().Before(b.refusedAloneAt) || !b.circuit.TryAcquirePermit() {
		return 0, false
	}
	if b.circuit.IsHalfOpen() || b.refused > 0 {
		b.probes++
		b.probing = b.probes
		probe = b.probing
	}
	return probe, true
}

// free reports whether requests may be fetched and called for, with the lock held.
func (b *Breaker) free() bool {
	return !b.blocked && b.probing == 0 && (b.circuit.IsClosed() || !time.Now().Before(b.until))
}

// Allows reports whether a further call may be made on the permission that came with
// this probe.
func (b *Breaker) Allows(probe int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.blocked && (b.circuit.IsClosed() && b.refused == 0 || probe != 0 && probe == b.probing)
}

// SingleRequests reports whether each call must be for a single request.
func (b *Breaker) SingleRequests() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused > 0 || !b.circuit.IsClosed()
}

// NextRefusedAloneProbe returns when a request refused alone may probe, and whether the
// breaker is open.
func (b *Breaker) NextRefusedAloneProbe() (at time.Time, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at = b.refusedAloneAt
	if b.until.After(at) {
		at = b.until
	}
	return at, !b.circuit.IsClosed()
}

// Accepted returns the last call in which a credential was accepted.
func (b *Breaker) Accepted() Acceptance {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.accepted
}

// Release ends a probe, if it is still in flight.
func (b *Breaker) Release(probe int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe == 0 || probe != b.probing {
		return
	}
	if b.circuit.IsHalfOpen() { // no call was made
		b.circuit.Open() // half-open again at the next Allow, because until has passed
	}
	b.probing = 0
	b.notify()
}

// Found reports to the breaker whether a pull for a probe from one of the lane's two
// streams found a message. The breaker closes once its wait is over and both are empty:
// then only a new request can show how the API is.
func (b *Breaker) Found(stream string, found bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if found || b.circuit.IsClosed() || b.probing != 0 || time.Now().Before(b.until) {
		clear(b.empty)
		return
	}
	b.empty[stream] = true
	if len(b.empty) < 2 {
		return
	}
	b.circuit.Close()
	b.closed()
	b.notify()
}

// ProbeNow lets the next probe be made at once, because the credential has changed.
func (b *Breaker) ProbeNow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until, b.refusedAloneAt, b.refusedAloneProbes = time.Now(), time.Time{}, 0
	b.notify()
}

// Block keeps the lane from fetching anything until it is called with false.
func (b *Breaker) Block(blocked bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocked = blocked
	b.notify()
}

// State is what a Breaker does, apart from [Breaker.Block].
type State struct {
	// Closed: requests are fetched as they arrive.
	Closed bool
	// Suspended: it is open because the API refuses the credential. If both Suspended
	// and Closed are false, the API fails.
	Suspended bool
	// Status and Reason are the last answer that keeps it open. Status is 0 if there
	// was no answer.
	Status int
	Reason string
	// Since is when it opened, or when the API refused the credential first.
	Since time.Time
	// NextProbe is when the next call is made.
	NextProbe time.Time
}

// State reports what the breaker does now.
func (b *Breaker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.circuit.IsClosed() {
		return State{Closed: true}
	}
	return State{Suspended: b.suspended, Status: b.status, Reason: b.reason, Since: b.since, NextProbe: b.until}
}

// notify wakes the callers of Wait, with the lock held.
func (b *Breaker) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}
