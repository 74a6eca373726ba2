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
	// Workers die, or stand still, where the rule counts.
	for _, c := range []struct {
		without sabotage.Rule
		falls   sabotage.Point
		stops   bool // rather than dies
		workers int  // that fall
		breaks  []string
	}{
		// Each of these takes along all that it has in hand: more would find nothing to do.
		{sabotage.AckLast, sabotage.Claimed, false, 2, []string{Missing}},
		{sabotage.Attempts, sabotage.Answered, false, 10, []string{Untrue}},
		{sabotage.Unanswered, sabotage.Answered, false, 10, []string{Untrue}},
		{sabotage.Expectation, sabotage.Answered, true, 6, []string{Double, OffChain}},
		{sabotage.Lease, sabotage.Claimed, true, 6, []string{LateCall}},
		{"", sabotage.Claimed, false, 10, nil},
		{"", sabotage.Answered, false, 10, nil},
		{"", sabotage.Claimed, true, 6, nil},
		{"", sabotage.Answered, true, 6, nil},
	} {
		name := "without " + string(c.without)
		if c.without == "" {
			name = fmt.Sprintf("with all rules, falling when %s, stops %v", c.falls, c.stops)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, Config{})
			publish(t, w, Workload(*seed, 400), 0)()
			without := "LETHE_SABOTAGE_WITHOUT=" + string(c.without)
			deed := "die"
			if c.stops {
				deed = "stop"
			}
			for n := range c.workers { // one after the other
				w.mustWorkers(t, lab.Sabotaged, 1, fmt.Sprintf("LETHE_SABOTAGE_AT=%s:%s:%d", c.falls, deed, 2+n), without)
				if fell, err := w.Workers[n].fell(t.Context(), 20*time.Second); err != nil || !fell {
					t.Fatalf("worker %d fell: %v, %v", n+1, fell, err)
				}
			}
			w.mustWorkers(t, lab.Sabotaged, 2, without)
			if c.stops {
				// Others answer for those that stand still, and they wake up behind.
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
