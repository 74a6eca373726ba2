package main

import (
	"strings"
	"testing"

	"github.com/lethe-dev/lethe/events"
)

func TestOlderResultsAreLeftOut(t *testing.T) {
	b := newBench(t)
	b.answer("old", contexts(1), events.Failed)
	for _, command := range []string{"results", "results --tail 1", "results --id old", "failed list"} {
		b.lethe(append(strings.Fields(command), "--since", "1h")...).want(t, exitDone, "  old  ")
		got := b.lethe(append(strings.Fields(command), "--since", "1ns")...)
		got.want(t, exitDone)
		if got.stdout != "" {
			t.Errorf("%s --since 1ns: got %q", command, got.stdout)
		}
	}
	b.lethe("results", "--id", "old", "--since", "1ns").want(t, exitDone, "old has no such result")
	b.lethe("failed", "replay", "--all", "--since", "1ns").want(t, exitDone)
	if replayed := b.requests(); len(replayed) != 0 {
		t.Errorf("%d requests were replayed, want none", len(replayed))
	}
}
