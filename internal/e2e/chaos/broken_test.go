package chaos

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/failpoint"
)

// rules are those that the promises rest on. Production code has no switch for any
// of them: a broken worker is a build in which these pieces of code are replaced.
var rules = map[string][]e2e.Replacement{
	"acknowledge last": {
		{File: "consumer/receive.go", Old: "	failpoint.At(failpoint.Received)\n", New: "	failpoint.At(failpoint.Received)\n	_ = d.Ack()\n"},
	},
	"record attempts before the call": {
		{File: "consumer/claim.go", Old: "	if !l.config.RecordAttempts {\n		return next, l.chain.follows(", New: "	if true {\n		return next, l.chain.follows("},
	},
	"a lapsed attempt may have deleted": {
		{File: "consumer/claim.go", Old: "last, scheduled, l.config.Instance, l.clock.now())\n", New: "last, scheduled, l.config.Instance, l.clock.now())\n	next.Unanswered = false\n"},
	},
	"a record expects the one before it": {
		{File: "consumer/chain.go", Old: "		jetstream.WithExpectLastSequenceForSubject(expected, c.filter(id)),\n", New: ""},
	},
	"no call on a lapsed lease": {
		{File: "consumer/call.go", Old: "deleter.StartBy(ctx, by)", New: "ctx"},
		{File: "consumer/call.go", Old: "	if l.clock.over(by) {\n		return begun, context.DeadlineExceeded\n	}\n	return l.limiter.Wait(stop, by)\n", New: "	return l.limiter.Wait(stop, time.Time{})\n"},
		{File: "consumer/claim.go", Old: "l.config.Instance, l.clock.now())", New: "l.config.Instance, l.clock.now().Add(time.Hour))"},
	},
}

// A worker that breaks a rule breaks a promise, and the auditor sees it. The same
// events and faults happen to a worker that keeps all rules.
func TestABrokenWorkerIsCaught(t *testing.T) {
	// Workers die or stop where the rule counts.
	for _, c := range []struct {
		without string
		at      failpoint.Point
		stops   bool // rather than dies
		workers int  // that die or stop
		breaks  []string
	}{
		// Each of these takes along all that it has in flight: more would find nothing to do.
		{"acknowledge last", failpoint.Claimed, false, 2, []string{Missing}},
		{"record attempts before the call", failpoint.Answered, false, 10, []string{Untrue}},
		{"a lapsed attempt may have deleted", failpoint.Answered, false, 10, []string{Untrue}},
		{"a record expects the one before it", failpoint.Answered, true, 6, []string{Double, OffChain}},
		{"no call on a lapsed lease", failpoint.Claimed, true, 6, []string{LateCall}},
		{"", failpoint.Claimed, false, 10, nil},
		{"", failpoint.Answered, false, 10, nil},
		{"", failpoint.Claimed, true, 6, nil},
		{"", failpoint.Answered, true, 6, nil},
	} {
		name := "without: " + c.without
		if c.without == "" {
			name = fmt.Sprintf("with all rules, at %s, stops %v", c.at, c.stops)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, Config{})
			program := e2e.WithFailpoints
			if c.without != "" {
				path, err := e2e.BuildBroken(t.Context(), t.TempDir(), rules[c.without]...)
				if err != nil {
					t.Fatal(err)
				}
				program = e2e.Program(c.without)
				w.Binaries[program] = path
			}
			publish(t, w, Workload(*seed, 400), 0)()
			action := "die"
			if c.stops {
				action = "stop"
			}
			for n := range c.workers { // one after the other
				w.mustWorkers(t, program, 1, fmt.Sprintf("LETHE_FAILPOINT=%s:%s:%d", c.at, action, 2+n))
				if fell, err := w.Workers[n].fell(t.Context(), 20*time.Second); err != nil || !fell {
					t.Fatalf("worker %d fell: %v, %v", n+1, fell, err)
				}
			}
			w.mustWorkers(t, program, 2)
			if c.stops {
				// Other workers answer for those that are stopped, which then wake up behind them.
				if err := w.Drain(t.Context(), time.Minute); err != nil {
					t.Log(err)
				}
				for n := range c.workers {
					if err := w.Workers[n].Signal(syscall.SIGCONT); err != nil {
						t.Fatal(err)
					}
				}
			}
			record, violations := audit(t, w)
			t.Logf("%s; %d violations", sum(record), len(violations))
			if c.breaks == nil {
				fail(t, w, violations)
				return
			}
			for _, v := range violations {
				if slices.Contains(c.breaks, v.Promise) {
					t.Log("caught: ", v)
					return
				}
			}
			t.Errorf("nothing of %q was found in %d violations: %v", c.breaks, len(violations), violations)
		})
	}
}
