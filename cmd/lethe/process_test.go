package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/fakeapi"
	"github.com/lethe-dev/lethe/internal/streams"
)

const (
	testKey    = "key-that-must-not-leak"
	testSecret = "secret-that-must-not-leak"
)

// bench is a NATS server and both APIs imitated, for workers as processes.
type bench struct {
	*testing.T
	server e2e.Server
	js     jetstream.JetStream
	apis   *fakeapi.Server
	url    string
	begun  chan struct{} // receives when a call arrives
	gate   chan struct{} // closed: calls are answered
}

func newBench(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	s, js := e2e.Serve(t, e2e.ServerConfig{Dir: filepath.Join(t.TempDir(), "js")})
	if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1, ResultsMaxAge: 720 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	apis := fakeapi.New(fakeapi.Config{AccessKey: testKey, OrganizationSecret: testSecret})
	b := &bench{T: t, server: s, js: js, apis: apis, begun: make(chan struct{}, 100), gate: make(chan struct{})}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.begun <- struct{}{}
		<-b.gate
		// The API finishes a call even if its client disconnects.
		apis.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	}))
	b.url = web.URL
	close(b.gate)
	t.Cleanup(func() { _ = apis.Close(); web.Close() })
	return b
}

// delayAnswers delays the answers to calls until release.
func (b *bench) delayAnswers() (release func()) {
	gate := make(chan struct{})
	b.gate = gate
	release = sync.OnceFunc(func() { close(gate) })
	b.Cleanup(release)
	return release
}

// worker is a `lethe run` process.
type worker struct {
	*exec.Cmd
	admin string
	mu    sync.Mutex
	log   strings.Builder
}

func (w *worker) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *worker) output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// start starts a worker with settings like "KV_TIMEOUT=1s".
func (b *bench) start(settings ...string) *worker {
	b.Helper()
	admin, err := freeAddress()
	if err != nil {
		b.Fatal(err)
	}
	w := &worker{Cmd: exec.Command("lethe", "run"), admin: "http://" + admin}
	w.Stdout, w.Stderr = w, w
	w.Env = append(os.Environ(), "LETHE_NATS_URL="+b.server.ClientURL(), "LETHE_ADMIN_ADDR="+admin, "LETHE_LOG_LEVEL=debug",
		"LETHE_KV_BASE_URL="+b.url, "LETHE_KV_ACCESS_KEY="+testKey,
		"LETHE_SENSAY_BASE_URL="+b.url, "LETHE_SENSAY_ORGANIZATION_SECRET="+testSecret,
		"LETHE_RETRY_INITIAL_INTERVAL=50ms", "LETHE_RETRY_MAX_INTERVAL=200ms")
	for _, s := range settings {
		if !strings.HasPrefix(s, "OTEL_") && !strings.HasPrefix(s, "GO") {
			s = "LETHE_" + s
		}
		w.Env = append(w.Env, s)
	}
	if err := w.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = w.Process.Kill()
		_ = w.Wait()
		if b.Failed() {
			b.Logf("the log of the worker:\n%s", w.output())
		}
	})
	b.until("the worker answers", func() bool { _, err := w.ready(); return err == nil })
	return w
}

// ready returns the answer of /readyz.
func (w *worker) ready() (readiness, error) {
	response, err := http.Get(w.admin + "/readyz")
	if err != nil {
		return readiness{}, err
	}
	defer func() { _ = response.Body.Close() }()
	var r readiness
	err = json.NewDecoder(response.Body).Decode(&r)
	return r, err
}

// lane returns a lane's state in the answer of /readyz, the zero State if there is none.
func (w *worker) lane(target events.Target) consumer.State {
	r, err := w.ready()
	if err != nil {
		return consumer.State{}
	}
	for _, s := range r.Lanes {
		if s.Target == target {
			return s
		}
	}
	return consumer.State{}
}

func (b *bench) publish(res events.Resource) events.Request {
	b.Helper()
	r := events.NewRequest("/test", res)
	event, err := r.Encode()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := b.js.PublishMsg(b.Context(), requestMessage(row{Request: r, event: event})); err != nil {
		b.Fatal(err)
	}
	return r
}

// results returns all results of a request.
func (b *bench) results(r events.Request) []events.Result {
	b.Helper()
	var all []events.Result
	l := &resultReader{js: b.js, warn: b.Output()}
	err := l.each(b.Context(), selection{subject: events.ResultFilter(r.Target(), r.ID, "")}, func(r *storedResult) (bool, error) {
		all = append(all, r.Result)
		return true, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return all
}

func (b *bench) final(r events.Request) events.Result {
	b.Helper()
	var last events.Result
	b.until("a final result", func() bool {
		all := b.results(r)
		if len(all) == 0 || !all[len(all)-1].Outcome.Final() {
			return false
		}
		last = all[len(all)-1]
		return true
	})
	return last
}

func (b *bench) until(what string, ok func() bool) {
	b.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("timeout: %s", what)
		}
	}
}

func entryOf(id int64) events.Resource {
	return events.KnowledgeBaseEntry{ReplicaUUID: demoReplica, KnowledgeBaseID: id}
}

func TestSIGTERMFinishesTheCallInFlight(t *testing.T) {
	b := newBench(t)
	release := b.delayAnswers()
	w := b.start()
	r := b.publish(entryOf(1))
	<-b.begun
	if err := w.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	b.until("the worker is stopping", func() bool { return strings.Contains(w.output(), "stopping") })
	if r, err := w.ready(); err != nil || r.Ready || r.Reason != "the worker is stopping" {
		t.Errorf("a worker that stops is ready: %+v, %v", r, err)
	}
	release()
	if err := w.Wait(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	if got := b.results(r); len(got) != 1 || got[0].Outcome != events.Deleted {
		t.Errorf("%+v", got)
	}
}

// The worker is killed during a call that deletes.
func TestSIGKILLDuringACallGivesOneTrueResult(t *testing.T) {
	b := newBench(t)
	release := b.delayAnswers()
	w := b.start("SENSAY_TIMEOUT=1s")
	r := b.publish(entryOf(1))
	<-b.begun
	if err := w.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = w.Wait() // it was killed
	release()
	b.until("the API has deleted", func() bool { return len(b.apis.Deleted()) == 1 })
	b.start("SENSAY_TIMEOUT=1s")
	got := b.final(r)
	if got.Outcome != events.Deleted || !got.Evidence.AfterUnansweredAttempt || got.Attempts != 2 {
		t.Errorf("%s after %d attempts, %+v", got.Outcome, got.Attempts, got.Evidence)
	}
	if all := b.results(r); len(all) != 1 {
		t.Errorf("%d results", len(all))
	}
}

func TestARefusedCredentialSuspendsOneLaneOnly(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("an old secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The maximum interval is long, so that only the changed file resumes the lane.
	w := b.start("SENSAY_ORGANIZATION_SECRET=", "SENSAY_ORGANIZATION_SECRET_FILE="+file, "RETRY_INITIAL_INTERVAL=1h", "RETRY_MAX_INTERVAL=1h", "RETRY_MAX_ELAPSED=100h")
	refused := b.publish(entryOf(1))
	b.until("the lane is suspended", func() bool { return w.lane(events.SensayKnowledgeBase).Status == consumer.StatusSuspended })
	if s := w.lane(events.SensayKnowledgeBase); !strings.Contains(s.Reason, "LETHE_SENSAY_ORGANIZATION_SECRET_FILE: 401") || !strings.Contains(s.Fix, "LETHE_SENSAY_ORGANIZATION_SECRET_FILE") || s.Since.IsZero() {
		t.Errorf("it does not name the variable, or has no fix: %+v", s)
	}
	if r, err := w.ready(); err != nil || !r.Ready {
		t.Errorf("a refused credential makes the worker unready: %+v %v", r, err)
	}
	waiting := b.publish(entryOf(2))
	other := b.publish(events.UserContexts{IDs: []int64{1}})
	if got := b.final(other); got.Outcome != events.Deleted {
		t.Errorf("the other lane: %s", got.Outcome)
	}
	if n := len(b.results(refused)) + len(b.results(waiting)); n != 0 {
		t.Errorf("%d results for a wrong credential", n)
	}
	if err := os.WriteFile(file, []byte(testSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := b.final(waiting); got.Outcome != events.Deleted {
		t.Errorf("after the change: %s", got.Outcome)
	}
	b.until("the lane runs", func() bool { return w.lane(events.SensayKnowledgeBase).Status == consumer.StatusRunning })
}

func TestNoCredentialMeansNoRequests(t *testing.T) {
	b := newBench(t)
	w := b.start("KV_ACCESS_KEY=")
	b.publish(events.UserContexts{IDs: []int64{1}})
	sensay := b.publish(entryOf(1))
	b.final(sensay)
	if s := w.lane(events.KVUserContext); s.Status != consumer.StatusOff || !strings.Contains(s.Fix, "set LETHE_KV_ACCESS_KEY") {
		t.Errorf("%+v", s)
	}
	if r, err := w.ready(); err != nil || !r.Ready {
		t.Errorf("a lane that is off makes the worker unready: %+v %v", r, err)
	}
	cons, err := b.js.Consumer(t.Context(), events.StreamRequests, string(events.KVUserContext))
	if err != nil {
		t.Fatal(err)
	}
	if info := cons.CachedInfo(); info.NumPending != 1 || info.NumAckPending != 0 {
		t.Errorf("%d wait and %d are taken", info.NumPending, info.NumAckPending)
	}
}

// All output of the worker is searched while the API echoes what it was sent.
