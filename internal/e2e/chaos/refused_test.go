package chaos

import (
	"testing"

	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// An API that closes an HTTP/2 connection refuses the streams opened after its GOAWAY. A
// refused stream is not a call, so it must not count as an unanswered attempt.
func TestARefusedStreamIsNotAnUnansweredAttempt(t *testing.T) {
	t.Parallel()
	env := open(t, Config{APIFaults: []string{"--latency", "5ms", "--unknown-share", "0.5", "--fault", "recycle=0.02"}, TLS: true})
	env.undisturbed = true
	publish(t, env, Workload(*seed, 1500), 0)()
	// With a backlog, many calls share a connection. The long time-outs prevent unanswered
	// calls on a busy machine.
	env.mustWorkers(t, e2e.Lethe, 1, "LETHE_KV_TIMEOUT=1m", "LETHE_SENSAY_TIMEOUT=1m", "LETHE_SENSAY_CONCURRENCY=64")
	record, violations := audit(t, env)
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
	fail(t, env, violations)
}
