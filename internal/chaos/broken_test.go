package chaos

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/internal/lab"
	"github.com/lethe-dev/lethe/internal/sabotage"
)

// A worker that leaves out a rule breaks a promise, and the auditor sees it.
// The same events and faults befall a worker that keeps them all.
func TestABrokenWorkerIsCaught(t *testing.T) {
	// Workers wait where the rule counts, so that a kill or a stop finds many of
	// their requests there.
	const pause = 250 * time.Millisecond
	for _, c := range []struct {
		without sabotage.Rule
		waits   sabotage.Point
		stops   bool // rather than dies
		breaks  []string
	}{
		{sabotage.AckLast, sabotage.Claimed, false, []string{Missing}},
		{sabotage.Attempts, sabotage.Answered, false, []string{Untrue}},
		{sabotage.Unanswered, sabotage.Answered, false, []string{Untrue}},
		{sabotage.Expectation, sabotage.Answered, true, []string{Double, OffChain}},
		{sabotage.Lease, sabotage.Claimed, true, []string{LateCall}},
		{"", sabotage.Claimed, false, nil},
		{"", sabotage.Answered, false, nil},
		{"", sabotage.Claimed, true, nil},
		{"", sabotage.Answered, true, nil},
	} {
		name := "without " + string(c.without)
		if c.without == "" {
			name = fmt.Sprintf("with all rules, waiting when %s, stops %v", c.waits, c.stops)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, Config{})
			w.mustWorkers(t, lab.Sabotaged, 2,
				fmt.Sprintf("LETHE_SABOTAGE_AT=%s:pause:1:%s", c.waits, pause), "LETHE_SABOTAGE_WITHOUT="+string(c.without))
			wait := publish(t, w, Workload(*seed, 300), time.Second)
			wait()
			for range 3 {
				victim := w.Workers[0]
				if err := w.busy(t.Context()); err != nil {
					t.Fatal(err)
				}
				if c.stops {
					if err := victim.Signal(syscall.SIGSTOP); err != nil {
						t.Fatal(err)
					}
					// The other one answers for it, and it wakes up behind.
					if err := w.Drain(t.Context(), time.Minute); err != nil {
						t.Log(err)
					}
					if err := victim.Signal(syscall.SIGCONT); err != nil {
						t.Fatal(err)
					}
					break
				}
				victim.Kill()
				if err := victim.Start(); err != nil {
					t.Fatal(err)
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
