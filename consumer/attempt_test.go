package consumer

import (
	"testing"

	"github.com/lethe-dev/lethe/events"
)

// An attempt that expires before its request ends would be forgotten.
func TestAttemptsHaveNoTTL(t *testing.T) {
	env := newEnvironment(t)
	env.run(env.config(sensayTarget, answering(answerDeleted)))
	r := entry(1)
	env.publish(r)
	env.final(sensayTarget, r.ID)
	for _, m := range env.messages(events.StreamResults, ">") {
		if ttl := m.Header.Get("Nats-TTL"); ttl != "" {
			t.Errorf("%s has the TTL %q", m.Subject, ttl)
		}
	}
}
