package limiter

import (
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Policy is how long a request waits between its attempts, and when it fails.
// It is the configuration of a [backoff.ExponentialBackOff].
type Policy struct {
	// InitialInterval is the wait after the first attempt.
	InitialInterval time.Duration
	// Multiplier is the growth of the wait from one attempt to the next, at least 1.
	Multiplier float64
	// Randomization, from 0 to 1, spreads each wait over wait × (1 ± Randomization).
	Randomization float64
	// MaxInterval is the longest wait, also for a Retry-After of the API.
	MaxInterval time.Duration
	// MaxElapsed limits the sum of what was scheduled as waiting and of the calls that
	// ended in retry. A request that exceeds it fails (docs/decisions/0003).
	MaxElapsed time.Duration
}

// maxSteps bounds the loop of Delay. By then any multiplier of practical use has reached
// MaxInterval.
const maxSteps = 4096

// Delay returns how long to wait after attempt n, counted from 1: the nth delay
// of the exponential backoff, but at least atLeast, and never more than
// MaxInterval (before the random spread).
func (p Policy) Delay(n int, atLeast time.Duration) time.Duration {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(p.InitialInterval),
		backoff.WithMultiplier(p.Multiplier),
		backoff.WithRandomizationFactor(p.Randomization),
		backoff.WithMaxInterval(p.MaxInterval),
		backoff.WithMaxElapsedTime(0),
	)
	delay := b.NextBackOff()
	for range min(n, maxSteps) - 1 {
		delay = b.NextBackOff()
	}
	return max(delay, min(atLeast, p.MaxInterval))
}
