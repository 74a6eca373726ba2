package chaos

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

var (
	requests = flag.Int("chaos.requests", 2000, "how many requests TestChaos publishes")
	kills    = flag.Int("chaos.kills", 40, "how many processes TestChaos kills")
	every    = flag.Duration("chaos.every", time.Second, "mean time between two kills")
	seed     = flag.Uint64("chaos.seed", 0, "random seed; the same seed repeats the same workload and order of faults; 0: random")
	keep     = flag.String("chaos.dir", "", "folder in which the files of all processes stay; none: a temporary folder")
)

var binaries map[e2e.Program]string

func TestMain(m *testing.M) {
	e2e.Parallel(16)
	if *seed == 0 {
		*seed = rand.Uint64N(1<<32) + 1
	}
	dir, err := os.MkdirTemp("", "lethe-chaos")
	if err == nil {
		binaries, err = e2e.Build(context.Background(), dir, e2e.Lethe, e2e.WithFailpoints, e2e.NATSServer)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// open opens an environment for a test.
func open(t *testing.T, c Config) *Environment {
	t.Helper()
	c.Binaries, c.Seed, c.Dir = maps.Clone(binaries), *seed, t.TempDir()
	if *keep != "" {
		c.Dir = filepath.Join(*keep, t.Name())
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.Servers = max(c.Servers, 1)
	env, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Close)
	return env
}

func (env *Environment) mustWorkers(t *testing.T, program e2e.Program, count int, settings ...string) {
	t.Helper()
	for range count {
		if _, err := env.NewWorker(program, settings...); err != nil {
			t.Fatal(err)
		}
	}
}

// publish publishes in the background. The returned function waits until that is done.
func publish(t *testing.T, env *Environment, messages []Message, over time.Duration) (published func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- env.Publish(t.Context(), messages, over) }()
	return func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// audit drains the queues and returns the observations and violations.
func audit(t *testing.T, env *Environment) (Observations, []Violation) {
	t.Helper()
	drained := env.Drain(t.Context(), time.Minute)
	record, err := env.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if drained != nil {
		t.Log(drained)
	}
	return record, Audit(record)
}

// sum summarizes a trial.
func sum(r Observations) string {
	outcomes := map[events.Outcome]int{}
	attempts := 0
	for _, l := range r.Records {
		if l.Result == nil {
			attempts++
			continue
		}
		outcomes[l.Result.Outcome]++
	}
	unanswered := 0
	for _, l := range r.Records {
		if l.Result != nil && l.Result.Evidence != nil && l.Result.Evidence.AfterUnansweredAttempt {
			unanswered++
		}
	}
	return fmt.Sprintf("%d published, %d calls, %d attempts stored, results %v, %d of them after an unanswered attempt",
		len(r.Published), len(r.Calls), attempts, outcomes, unanswered)
}

// fail reports violations and the command that repeats the trial.
func fail(t *testing.T, env *Environment, violations []Violation) {
	t.Helper()
	for i, v := range violations {
		if i == 20 {
			t.Errorf("and %d more", len(violations)-i)
			break
		}
		t.Error(v)
	}
	if t.Failed() {
		t.Logf("repeat with: go test ./internal/e2e/chaos -run '^%s$' -chaos.seed %d -chaos.requests %d -chaos.kills %d -chaos.every %s -chaos.dir /tmp/chaos",
			t.Name(), *seed, *requests, *kills, *every)
		for _, worker := range env.Workers {
			t.Logf("the log of %s ends:\n%s", worker.Name, worker.Tail(5))
		}
	}
}

// Half of the requests are made over HTTP/1.1, the other half over TLS and HTTP/2.
func TestChaos(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"HTTP1": {APIFaults: usualFaults},
		"HTTP2": {APIFaults: append([]string{"--fault", "recycle=0.02"}, usualFaults...), TLS: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runTrial(t, open(t, c), *requests/2, *kills/2, time.Duration(*kills)**every/2)
		})
	}
}

// Three servers hold three replicas. The leader is killed or isolated, and the others
// continue without it.
func TestChaosInACluster(t *testing.T) {
	t.Parallel()
	runTrial(t, open(t, Config{APIFaults: usualFaults, Servers: 3}), *requests/4, *kills/5, time.Duration(*kills)**every/2)
}

// runTrial publishes requests while faults are injected, and audits the results.
func runTrial(t *testing.T, env *Environment, requests, kills int, over time.Duration) {
	t.Helper()
	env.mustWorkers(t, e2e.Lethe, 2)
	// Isolating servers takes seconds longer. Requests must arrive until the last fault.
	published := publish(t, env, Workload(*seed, requests), over*time.Duration(len(env.Servers)+1)/2)

	done := make(chan struct{})
	go func() { // log the progress
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				counts, err := env.Counts(t.Context())
				t.Logf("%d of %d published, streams hold %v %v", env.progress.Load(), requests, counts, err)
			}
		}
	}()
	paused := make(chan error, 1)
	go func() { // one lane is paused at the same time
		target := events.Targets()[int(*seed)%len(events.Targets())]
		paused <- env.PauseLane(t.Context(), target, func() { time.Sleep(3 * time.Second) })
	}()
	faults, err := InjectFaults(t.Context(), env, *seed, kills, over)
	if lost := <-paused; lost != nil {
		t.Error(lost)
	}
	close(done)
	if err != nil {
		t.Fatal(err)
	}
	published()
	record, violations := audit(t, env)
	t.Logf("seed %d: %s; %s; %d pauses; %d consumers recreated; %d violations", *seed, sum(record), faults, len(record.Pauses), env.Recreated, len(violations))
	fail(t, env, violations)
}

func (env *Environment) mustAdmin(t *testing.T, method, path, body string) {
	t.Helper()
	if err := env.admin(t.Context(), method, path, body); err != nil {
		t.Fatal(err)
	}
}
