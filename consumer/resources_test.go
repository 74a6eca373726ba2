package consumer

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

func TestAFullDiskBlocksTheLaneUntilItHasSpace(t *testing.T) {
	t.Parallel()
	env := &environment{TB: t, server: startServerWith(t, e2e.ServerConfig{Dir: filepath.Join(t.TempDir(), "js"), MaxStore: 1 << 20})}
	env.nc, env.js = env.connect()
	if err := streams.Setup(t.Context(), env.js, settings); err != nil {
		t.Fatal(err)
	}
	r := entry(7)
	env.publish(r)
	if _, err := env.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BALLAST", Subjects: []string{"ballast"}, Storage: jetstream.FileStorage}); err != nil {
		t.Fatal(err)
	}
	for size := 512 << 10; size > 0; size /= 2 { // fill it to the last byte
		for {
			_, err := env.js.Publish(t.Context(), "ballast", make([]byte, size))
			if _, ok := errors.AsType[*jetstream.APIError](err); ok {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	calls := answering(answerDeleted)
	lane, _ := env.run(env.config(sensayTarget, calls))
	env.until("the lane is blocked", func() bool { return lane.State().Status == StatusBlocked })
	if calls.count() != 0 {
		t.Errorf("%d calls without space for their attempts", calls.count())
	}
	if n := len(env.messages(events.StreamRequests, ">")); n != 1 {
		t.Errorf("%d requests wait", n)
	}
	if err := env.js.DeleteStream(t.Context(), "BALLAST"); err != nil {
		t.Fatal(err)
	}
	env.final(sensayTarget, r.ID)
	env.settled()
}

// The clock follows the server's clock, whatever this machine's clock shows, and is monotonic
// between two readings.
func TestTheClockFollowsTheServersThroughJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		for _, jump := range []time.Duration{0, time.Hour, -48 * time.Hour, 5 * time.Second} {
			server := time.Now().Add(jump)
			asked := c.local()
			time.Sleep(200 * time.Millisecond) // the round trip
			c.measured(server.Add(100*time.Millisecond), asked, c.local())
			if off := c.now().Sub(time.Now().Add(jump)); off != 0 {
				t.Errorf("after a jump of %s the clock is off by %s", jump, off)
			}
			before := c.now()
			time.Sleep(30 * time.Second)
			if passed := c.now().Sub(before); passed != 30*time.Second {
				t.Errorf("%s passed in 30 s", passed)
			}
		}
		before := c.now()
		c.measured(time.Time{}, c.local(), c.local()) // a server that sends no time
		if c.now() != before {
			t.Error("an answer without a time changed the clock")
		}
	})
}

// A clock that jumped between two steps neither ends a request early nor makes
// it wait forever.
func TestAClockJumpBetweenStepsChangesNoDecision(t *testing.T) {
	rules := Rules{ConfirmAfter: time.Hour, Retry: Policy{InitialInterval: time.Second, Multiplier: 2, MaxInterval: time.Minute, MaxElapsed: 24 * time.Hour}}
	for _, since := range []time.Duration{-time.Hour, 48 * time.Hour} { // the first attempt, seen from now
		step := decide(rules, ledger.Progress{Attempts: 2, FirstAttempt: noon.Add(since)}, answerLost, time.Time{}, noon)
		if since > 0 && (step.outcome != "" || !step.nextCallAt.After(noon) || step.nextCallAt.After(noon.Add(2*time.Minute))) {
			t.Errorf("a first attempt in the future: %+v", step)
		}
		if !step.nextCallAt.IsZero() && step.nextCallAt.Sub(noon) > rules.Retry.MaxInterval {
			t.Errorf("the next call is only at %s", step.nextCallAt)
		}
	}
	// A lease stored in the future expires with it, plus the tolerance.
	ahead := &ledger.Record{Seq: 1, StoredAt: noon.Add(time.Hour), Fingerprint: "f", Instance: "other", Lease: time.Minute}
	if action, at, _ := ledger.Resolve(ledger.Progress{}, "f", ahead, false, "self", noon); action != ledger.Reschedule || at.After(noon.Add(2*time.Hour)) {
		t.Errorf("action %v at %s", action, at)
	}
	behind := &ledger.Record{Seq: 1, StoredAt: noon.Add(-ledger.ClockTolerance), Fingerprint: "f", Instance: "other", Lease: time.Second}
	if action, _, _ := ledger.Resolve(ledger.Progress{}, "f", behind, false, "self", noon.Add(-time.Second)); action != ledger.Reschedule {
		t.Errorf("a lease within the tolerance has expired: %v", action)
	}
}
