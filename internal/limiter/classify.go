package limiter

import (
	"net/http"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

// Call describes a call to [Breaker.Record].
type Call struct {
	// Shared: it was for more than one request.
	Shared bool
	// RefusedAlone: it was for a request that the API refused alone before.
	RefusedAlone bool
	// Throttled is what [Limiter.Learn] returned for its answer.
	Throttled bool
	// Since is when it began, by the server's clock.
	Since time.Time
}

// Record adapts to the answer to a call, whether it was a probe or not.
func (b *Breaker) Record(a deleter.Answer, c Call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.notify()
	if a.Verdict != deleter.CredentialRefused && a.Verdict != deleter.Retry {
		b.refused = 0
		if a.Credential >= b.accepted.credential {
			b.accepted = Acceptance{a.Credential, c.Since}
		}
	}
	wasOpen := !b.circuit.IsClosed()
	switch b.classify(a, c) {
	case neutral:
		if c.RefusedAlone && wasOpen {
			b.refusedAloneProbes++
			b.refusedAloneAt = time.Now().Add(b.delay(b.refusedAloneProbes, a))
		}
		return
	case opens:
		b.circuit.RecordFailure()
		b.circuit.Open()
	case failure:
		b.circuit.RecordFailure()
	case success:
		b.succeed(wasOpen)
		return
	}
	if b.circuit.IsOpen() {
		b.open(a, wasOpen)
	}
}

// succeed records a success, with the lock held.
func (b *Breaker) succeed(wasOpen bool) {
	if b.circuit.IsOpen() && !time.Now().Before(b.until) {
		b.circuit.Close() // an earlier call's success is as good as a probe's
	} else {
		b.circuit.RecordSuccess()
	}
	if wasOpen && b.circuit.IsClosed() {
		b.closed()
	}
}

// effect is what an answer means for the breaker.
type effect int

const (
	success effect = iota // the API works, and accepts the credential
	failure               // some of these in a row open the breaker
	opens                 // it opens the breaker at once
	neutral               // it can be about the request alone, or about the rate
)

// classify returns the effect of an answer, with the lock held.
func (b *Breaker) classify(a deleter.Answer, c Call) effect {
	switch {
	case a.Verdict == deleter.CredentialRefused && a.Status == 0: // the credential cannot be read
		return opens
	case a.Verdict == deleter.CredentialRefused && c.RefusedAlone:
		return neutral
	case a.Verdict == deleter.CredentialRefused && a.Status != http.StatusForbidden:
		return opens
	case a.Verdict == deleter.CredentialRefused:
		if b.refused++; b.refused >= refusalsToSuspend || b.suspended {
			return opens
		}
		return neutral
	case c.Throttled && b.circuit.IsClosed():
		return neutral
	case a.Divisible() && a.Verdict == deleter.Retry && (c.Shared || c.RefusedAlone):
		return neutral
	case a.Verdict == deleter.Retry:
		return failure
	default:
		return success
	}
}
