package chaos

import (
	"testing"

	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// An API that recycles its connections takes each call once and answers it. What it refused
// while it closed a connection was never a call, and must not look like one that may have
// deleted.
func TestRefusedStreamsAreNoCalls(t *testing.T) {
	t.Parallel()
	w := open(t, Config{Troubles: []string{"--latency", "5ms", "--unknown-share", "0.5", "--fault", "recycle=0.02"}, TLS: true})
	w.undisturbed = true
	publish(t, w, Workload(*seed, 1500), 0)()
	// With all of it waiting, many calls share a connection. A time-out on a busy machine
	// would be an unanswered call.
	w.mustWorkers(t, e2e.Lethe, 1, "LETHE_KV_TIMEOUT=1m", "LETHE_SENSAY_TIMEOUT=1m", "LETHE_SENSAY_CONCURRENCY=64")
	record, violations := audit(t, w)
	recycled := 0
	for _, c := range record.Calls {
		if c.Fault == fakeapi.Recycle {
			recycled++
		}
	}
	t.Logf("seed %d: %s; %d connections recycled; %d violations", *seed, sum(record), recycled, len(violations))
	if recycled == 0 {
		t.Error("no connection was recycled")
	}
	fail(t, w, violations)
}
