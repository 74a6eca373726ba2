package chaos

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/failpoint"
)

// rules are the rules behind the guarantees. Production code has no switch for them: a
// broken worker is a build in which these pieces of code are replaced.
var rules = map[string][]e2e.Replacement{
	"acknowledge last": {
		{File: "consumer/receive.go", Old: "	failpoint.At(failpoint.Received)\n", New: "	failpoint.At(failpoint.Received)\n	_ = d.Ack()\n"},
	},
	"record attempts before the call": {
		{File: "consumer/claim.go", Old: "	if !l.config.RecordAttempts {\n		return next, l.ledger.CheckHead(", New: "	if true {\n		return next, l.ledger.CheckHead("},
	},
	"a lapsed attempt may have deleted": {
		{File: "internal/ledger/resolve.go", Old: "		// The answer to that call is unknown.\n		adopted.MayHaveDeleted = true\n", New: ""},
	},
	"a record expects the one before it": {
		{File: "internal/ledger/ledger.go", Old: "	p.msg.Header[jetstream.ExpectedLastSubjSeqHeader] = p.guard[1:2:2]\n	p.msg.Header[jetstream.ExpectedLastSubjSeqSubjHeader] = p.guard[2:3:3]\n", New: ""},
	},
	"a heartbeat that is too old gives no right to call": {
		{File: "internal/control/lease.go", Old: "	until := sent.Add(BeginWithin)\n", New: "	until := sent.Add(time.Hour)\n"},
	},
	"a refused heartbeat gives no right to call": {
		{File: "internal/control/lease.go", Old: "		case err == nil:\n			l.accepted(", New: "		case err == nil, hasCode(err, codeOtherKey):\n			l.accepted("},
	},
	"no call on a lapsed lease": {
		{File: "consumer/call.go", Old: "deleter.WithStartDeadline(ctx, deadline)", New: "ctx"},
		{File: "consumer/call.go", Old: "	if l.clock.passed(deadline) {\n		return begun, context.DeadlineExceeded\n	}\n	return l.limiter.Wait(stop, deadline)\n", New: "	return l.limiter.Wait(stop, time.Time{})\n"},
		{File: "consumer/claim.go", Old: "l.config.Instance, l.clock.now())", New: "l.config.Instance, l.clock.now().Add(time.Hour))"},
	},
}

// Each replacement still matches the code. The trials find that out, too, but only after minutes.
func TestTheReplacementsMatchTheCode(t *testing.T) {
	t.Parallel()
	root, err := e2e.ModuleDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for rule, replacements := range rules {
		if _, err := e2e.Replaced(root, replacements...); err != nil {
			t.Errorf("%s: %v", rule, err)
		}
	}
	if _, err := e2e.Replaced(root, lostHeartbeats...); err != nil {
		t.Errorf("lost heartbeats: %v", err)
	}
}

// The audit catches a worker that breaks a rule. It finds nothing with a correct worker
// under the same workload and faults.
func TestABrokenWorkerIsCaught(t *testing.T) {
	t.Parallel()
	// Workers die or stop at the crash point where the rule matters.
	for _, c := range []struct {
		without string
		at      failpoint.Point
		stops   bool // rather than dies
		workers int  // that die or stop
		breaks  []string
	}{
		// Each of these workers loses all its messages in flight, so more of them would get none.
		{"acknowledge last", failpoint.Claimed, false, 2, []string{Missing}},
		{"record attempts before the call", failpoint.Answered, false, 10, []string{FalseNotFound}},
		{"a lapsed attempt may have deleted", failpoint.Answered, false, 10, []string{FalseNotFound}},
		{"a record expects the one before it", failpoint.Answered, true, 6, []string{Duplicate, WrongOrder}},
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
			env := open(t, Config{})
			program := e2e.WithFailpoints
			if c.without != "" {
				path, err := e2e.BuildBroken(t.Context(), t.TempDir(), rules[c.without]...)
				if err != nil {
					t.Fatal(err)
				}
				program = e2e.Program(c.without)
				env.Binaries[program] = path
			}
			publish(t, env, Workload(*seed, 400), 0)()
			action := "die"
			if c.stops {
				action = "stop"
			}
			for n := range c.workers { // one after the other
				settings := []string{fmt.Sprintf("LETHE_FAILPOINT=%s:%s:%d", c.at, action, 2+n)}
				if slices.Contains(c.breaks, LateCall) { // only a recorded attempt shows one
					settings = append(settings, "LETHE_TARGETS="+string(events.SensayKnowledgeBase))
				}
				env.mustWorkers(t, program, 1, settings...)
				if down, err := env.Workers[n].waitDownOrStopped(t.Context(), 20*time.Second); err != nil || !down {
					t.Fatalf("worker %d is neither down nor stopped: %v, %v", n+1, down, err)
				}
			}
			env.mustWorkers(t, program, 2)
			if c.stops {
				// Other workers finish the requests of the stopped ones, which then resume.
				if err := env.Drain(t.Context(), time.Minute); err != nil {
					t.Log(err)
				}
				for n := range c.workers {
					if err := env.Workers[n].Signal(syscall.SIGCONT); err != nil {
						t.Fatal(err)
					}
				}
			}
			record, violations := audit(t, env)
			t.Logf("%s; %d violations", sum(record), len(violations))
			if c.breaks == nil {
				fail(t, env, violations)
				return
			}
			for _, v := range violations {
				if slices.Contains(c.breaks, v.Promise) {
					t.Log("caught: ", v)
					return
				}
			}
			t.Errorf("no violation of %q among %d: %v", c.breaks, len(violations), violations)
		})
	}
}
