package consumer

import (
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
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

// The age of a request is that of its first message, also when a worker continues from a
// record of another one: a record does not carry it.
func TestARequestThatIsContinuedFromARecordKeepsTheTimeAtWhichItWasStored(t *testing.T) {
	env := newEnvironment(t)
	r := entry(1)
	env.publish(r)
	stored := env.messages(events.StreamRequests, ">")[0].Time
	busy := answerBusy
	busy.RetryAfter = time.Minute
	config := env.config(sensayTarget, answering(busy))
	config.Rules.Retry.MaxInterval, config.Rules.Retry.MaxElapsed = time.Minute, time.Hour
	other := ledger.New(env.js, sensayTarget, "another worker", config.Log)
	if _, err := recordAttempt(t.Context(), other, r.ID, events.Fingerprint(r.Resource), ledger.Progress{Attempts: 1}, 0); err != nil {
		t.Fatal(err)
	}
	env.run(config)
	env.waiting()
	if got := ledger.ReadProgress(env.messages(events.StreamLater, ">")[0].Header); got.Attempts != 2 || !got.StoredAt.Equal(stored) {
		t.Errorf("after %d attempts it was stored at %s, want %s", got.Attempts, got.StoredAt, stored)
	}
}

func TestAClaimedCallBeginsBeforeAnotherWorkerCanHaveTheMessage(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	for name, c := range map[string]struct {
		ackWait time.Duration
		want    time.Time
	}{
		"the lease ends first":        {time.Minute, begun.Add(leaseSlack)},
		"the ack deadline ends first": {2 * time.Second, begun.Add(time.Second)},
	} {
		j := &job{delivery: &delivery{}}
		j.extendedAt.Store(&begun)
		j.claimed(ledger.Progress{}, begun, c.ackWait)
		if !j.startDeadline.Equal(c.want) {
			t.Errorf("%s: %s after its claim", name, j.startDeadline.Sub(begun))
		}
	}
}
