package consumer

import (
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/limiter"
)

// Status is what a lane is doing, in a word.
type Status string

const (
	// StatusRunning: requests are taken as they come.
	StatusRunning Status = "running"
	// StatusHeld: nothing is taken, because the credential is refused or
	// missing, or because a stream is not as it must be.
	StatusHeld Status = "held"
	// StatusOpen: the breaker is open, single calls probe the API.
	StatusOpen Status = "open"
	// StatusStuck: what was done cannot be stored, so nothing is acknowledged; or
	// messages cannot be taken.
	StatusStuck Status = "stuck"
)

// State is a lane's report on itself.
type State struct {
	Target   events.Target `json:"target"`
	Status   Status        `json:"status"`
	Why      string        `json:"why,omitempty"`
	InFlight int           `json:"in_flight"`
	// Calls is how many calls may be out at the same time now, and CallsPerSecond
	// how many may begin, 0 while no limit is known.
	Calls          int     `json:"calls"`
	CallsPerSecond float64 `json:"calls_per_second"`
	// NextCall is when a lane that is held or open tries again, or one whose API
	// asked it to wait; zero if unknown.
	NextCall time.Time `json:"next_call,omitzero"`
}

// State reports what the lane does now and, where it is not running, why.
func (l *Lane) State() State {
	breaker := l.breaker.State()
	status, why := l.status(breaker)
	calls, perSecond, next := l.limiter.State()
	switch {
	case !breaker.Closed:
		next = breaker.NextProbe
	case !next.IsZero() && why == "":
		why = "the API throttles calls and asks to wait"
	}
	return State{
		Target: l.config.Target, Status: status, Why: why, InFlight: l.inflight.size(), Calls: calls, CallsPerSecond: perSecond, NextCall: next,
	}
}

func (l *Lane) status(breaker limiter.State) (status Status, why string) {
	switch {
	case breaker.Suspended:
		return StatusHeld, breaker.Reason
	case !breaker.Closed:
		return StatusOpen, breaker.Reason
	case l.ledger.Failing() != "":
		return StatusStuck, l.ledger.Failing()
	case l.laterUsage.reason() != "":
		return StatusHeld, l.laterUsage.reason()
	case l.pulls.reason() != "":
		return StatusStuck, l.pulls.reason()
	default:
		return StatusRunning, l.refusals.reason()
	}
}

// Block keeps the lane from taking anything, for a reason; "" lets it go on.
func (l *Lane) Block(reason string) { l.breaker.Block(reason) }

// Retry tries one call at once, without waiting for the next probe: for when
// the credential has changed.
func (l *Lane) Retry() {
	l.breaker.ProbeNow()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}
