package chaos

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

// steady publishes requests for user contexts for longer than a pause takes.
func steady(t *testing.T, env *Environment) (published func()) {
	t.Helper()
	var messages []Message
	for id := range int64(600) {
		messages = append(messages, valid(events.NewRequest("/pause", events.UserContexts{IDs: []int64{id + 1}})))
	}
	return publish(t, env, messages, 30*time.Second)
}

// called waits for the first call to the API.
func called(t *testing.T, env *Environment) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if calls, err := readJournal(env.journal); err == nil && len(calls) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the API is not called")
		}
	}
}

// No call begins in a pause, whatever faults hit the workers.
func TestNoCallBeginsInAPause(t *testing.T) {
	t.Parallel()
	env := open(t, Config{APIFaults: []string{"--latency", "20ms"}})
	published := steady(t, env)
	env.mustWorkers(t, e2e.Lethe, 4)
	stops, err := env.NewWorker(e2e.WithFailpoints, "LETHE_FAILPOINT=claimed:stop:20") // right before a call
	if err != nil {
		t.Fatal(err)
	}
	called(t, env)
	cut, killed, stopped := env.Workers[0], env.Workers[1], env.Workers[2]
	if down, err := stops.waitDownOrStopped(t.Context(), 20*time.Second); err != nil || !down {
		t.Fatalf("the worker does not stop before its call: %v", err)
	}
	// The first three workers cannot learn of the pause.
	cut.Proxies[0].SetBlocked(true)
	if err := stopped.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	killed.Kill()
	err = env.PauseLane(t.Context(), events.KVUserContext, func() {
		for _, w := range []*Worker{stops, stopped} { // after more than 10 s
			if err := w.Signal(syscall.SIGCONT); err != nil {
				t.Error(err)
			}
		}
		if err := killed.Start(); err != nil {
			t.Error(err)
		}
		if err := env.Workers[3].End(20 * time.Second); err != nil {
			t.Error(err)
		}
		if err := env.Workers[3].Start(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		cut.Proxies[0].SetBlocked(false)
		time.Sleep(3 * time.Second)
	})
	if err != nil {
		t.Fatal(err)
	}
	published()
	record, violations := audit(t, env)
	t.Logf("%s; paused for %s", sum(record), record.Pauses[0].To.Sub(record.Pauses[0].From))
	fail(t, env, violations)
}

// lostHeartbeats are the replacements after which a worker's heartbeats are lost, but for the first of each lane.
var lostHeartbeats = []e2e.Replacement{
	{File: "internal/control/workers.go", Old: "	return b.publish(ctx, h, jetstream.WithExpectLastSequenceForSubject(",
		New: "	if firstBeat.Add(1) > 2 {\n		return errNotConnected\n	}\n	return b.publish(ctx, h, jetstream.WithExpectLastSequenceForSubject("},
	{File: "internal/control/pause.go", Old: "const Wait = ", New: "var firstBeat atomic.Int64\n\nconst Wait = "},
	{File: "internal/control/pause.go", Old: "	\"fmt\"\n", New: "	\"fmt\"\n	\"sync/atomic\"\n"},
}

// These workers' heartbeats are lost after the first, or refused. The audit must catch a
// worker that calls all the same.
func TestAWorkerThatIgnoresItsHeartbeatsIsCaught(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		replacements []e2e.Replacement
		caught       bool
	}{
		{"heartbeats are lost, and the right to call ends by time", lostHeartbeats, false},
		{"heartbeats are lost, and the right to call does not end", slices.Concat(lostHeartbeats, rules["a heartbeat that is too old gives no right to call"]), true},
		{"refused heartbeats count as accepted", rules["a refused heartbeat gives no right to call"], true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := open(t, Config{APIFaults: []string{"--latency", "20ms"}})
			path, err := e2e.BuildBroken(t.Context(), t.TempDir(), c.replacements...)
			if err != nil {
				t.Fatal(err)
			}
			env.Binaries["changed"] = path
			published := steady(t, env)
			env.mustWorkers(t, "changed", 1)
			called(t, env)
			if err := env.PauseLane(t.Context(), events.KVUserContext, func() { time.Sleep(3 * time.Second) }); err != nil {
				t.Fatal(err)
			}
			env.mustWorkers(t, e2e.Lethe, 1)
			published()
			record, violations := audit(t, env)
			t.Logf("%s; %d violations", sum(record), len(violations))
			if !c.caught {
				fail(t, env, violations)
				return
			}
			if !slices.ContainsFunc(violations, func(v Violation) bool { return v.Promise == PausedCall }) {
				t.Errorf("no %q in %v", PausedCall, violations)
			}
		})
	}
}
