package consumer

import (
	"testing"

	"github.com/lethe-dev/lethe/events"
)

// An attempt that expires before its request ends would be forgotten.
func TestAttemptsHaveNoTTL(t *testing.T) {
	w := newWorld(t)
	w.run(w.config(sensayTarget, script(answerDeleted)))
	r := entry(1)
	w.publish(r)
	w.final(sensayTarget, r.ID)
	for _, m := range w.messages(events.StreamResults, ">") {
		if ttl := m.Header.Get("Nats-TTL"); ttl != "" {
			t.Errorf("%s has the TTL %q", m.Subject, ttl)
		}
	}
}
