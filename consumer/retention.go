package consumer

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// checkResultsAge refuses a results stream whose messages expire while their
// request may still be open. least is that of [StreamSettings].
func checkResultsAge(c jetstream.StreamConfig, least time.Duration) error {
	if c.MaxAge == 0 || c.MaxAge >= least {
		return nil
	}
	return &Problem{
		Stream: c.Name, Setting: "max_age " + c.MaxAge.String(),
		Why: fmt.Sprintf("results would expire while their request is open; it must be 0 (forever) or at least %s, or shorten LETHE_RETRY_MAX_ELAPSED", least),
	}
}

// longerAge is the longer of two ages of a stream, where 0 means forever.
func longerAge(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}
