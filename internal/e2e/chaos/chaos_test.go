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
	seed     = flag.Uint64("chaos.seed", 0, "decides what happens when; 0 picks one")
	keep     = flag.String("chaos.dir", "", "where the files of all processes stay; empty keeps none")
)

var binaries map[e2e.Program]string

func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		_ = flag.Set("test.parallel", "16") // most of a trial is waiting
	}
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

// open opens a world for a test.
func open(t *testing.T, c Config) *World {
	t.Helper()
	c.Binaries, c.Seed, c.Dir = maps.Clone(binaries), *seed, t.TempDir()
	if *keep != "" {
		c.Dir = filepath.Join(*keep, t.Name())
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.Servers = max(c.Servers, 1)
	w, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func (w *World) mustWorkers(t *testing.T, program e2e.Program, count int, settings ...string) {
	t.Helper()
	for range count {
		if _, err := w.NewWorker(program, settings...); err != nil {
			t.Fatal(err)
		}
	}
}

// publish publishes in the background. What it returns waits for the end.
func publish(t *testing.T, w *World, messages []Message, over time.Duration) (published func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- w.Publish(t.Context(), messages, over) }()
	return func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// audit waits until all is done and returns the record and what is wrong with it.
func audit(t *testing.T, w *World) (Record, []Violation) {
	t.Helper()
	drained := w.Drain(t.Context(), time.Minute)
	record, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if drained != nil {
		t.Log(drained)
	}
	return record, Audit(record)
}

// sum counts what a trial did.
func sum(r Record) string {
	outcomes := map[events.Outcome]int{}
	attempts := 0
	for _, l := range r.Links {
		if l.Result == nil {
			attempts++
			continue
		}
		outcomes[l.Result.Outcome]++
	}
	unanswered := 0
	for _, l := range r.Links {
		if l.Result != nil && l.Result.Evidence != nil && l.Result.Evidence.AfterUnansweredAttempt {
			unanswered++
		}
	}
	return fmt.Sprintf("%d published, %d calls, %d attempts stored, results %v, %d of them after an unanswered attempt",
		len(r.Published), len(r.Calls), attempts, outcomes, unanswered)
}

// fail reports violations, with what is needed to see them again.
func fail(t *testing.T, w *World, violations []Violation) {
	t.Helper()
	for i, v := range violations {
		if i == 20 {
			t.Errorf("and %d more", len(violations)-i)
			break
		}
		t.Error(v)
	}
	if t.Failed() {
		t.Logf("again with: go test ./internal/e2e/chaos -run '^%s$' -chaos.seed %d -chaos.requests %d -chaos.kills %d -chaos.every %s -chaos.dir /tmp/chaos",
			t.Name(), *seed, *requests, *kills, *every)
		for _, worker := range w.Workers {
			t.Logf("%s said last:\n%s", worker.Name, worker.Tail(5))
		}
	}
}

// One half of the trial is over HTTP/1.1, the other over TLS and HTTP/2.
func TestChaos(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"HTTP1": {Troubles: troubles},
		"HTTP2": {Troubles: append([]string{"--fault", "recycle=0.02"}, troubles...), TLS: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endure(t, open(t, c), *requests/2, *kills/2, time.Duration(*kills)**every/2)
		})
	}
}

// Three servers hold three replicas. Their leader is killed, or cut off from the
// others, which goes on without it.
func TestChaosInACluster(t *testing.T) {
	t.Parallel()
	endure(t, open(t, Config{Troubles: troubles, Servers: 3}), *requests/4, *kills/5, time.Duration(*kills)**every/2)
}

// endure publishes requests while processes are killed, and audits what came of
// them.
func endure(t *testing.T, w *World, requests, kills int, over time.Duration) {
	t.Helper()
	w.mustWorkers(t, e2e.Lethe, 2)
	// Cutting a server off takes a while, and requests are to come all the time.
	published := publish(t, w, Workload(*seed, requests), over*time.Duration(len(w.Servers)+1)/2)

	trouble := make(chan struct{})
	go func() { // progress, for those who wait long
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-trouble:
				return
			case <-tick.C:
				counts, err := w.Counts(t.Context())
				t.Logf("%d of %d published, streams hold %v %v", w.progress.Load(), requests, counts, err)
			}
		}
	}()
	faults, err := Trouble(t.Context(), w, *seed, kills, over)
	close(trouble)
	if err != nil {
		t.Fatal(err)
	}
	published()
	record, violations := audit(t, w)
	t.Logf("seed %d: %s; %s; %d consumers made anew; %d violations", *seed, sum(record), faults, w.Redelivered, len(violations))
	fail(t, w, violations)
}

func (w *World) mustSteer(t *testing.T, method, path, body string) {
	t.Helper()
	if err := w.steer(t.Context(), method, path, body); err != nil {
		t.Fatal(err)
	}
}
