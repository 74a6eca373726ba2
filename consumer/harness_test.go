package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

func TestMain(m *testing.M) {
	e2e.Parallel(16)
	uuid.EnableRandPool() // as cmd/lethe does
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for a condition before it fails.
const patience = 30 * time.Second

// startServer runs a NATS server until the test ends, on a free port if port is 0.
func startServer(t testing.TB, dir string, port int) e2e.Server {
	t.Helper()
	return startServerWith(t, e2e.ServerConfig{Dir: dir, Port: port})
}

func startServerWith(t testing.TB, c e2e.ServerConfig) e2e.Server {
	t.Helper()
	s, err := e2e.StartServer(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// environment is a NATS server for one test, with a connection and helpers for requests and results.
type environment struct {
	testing.TB
	server e2e.Server
	nc     *nats.Conn
	js     jetstream.JetStream
}

// newEnvironment returns an environment with Lethe's streams. The test runs in parallel with others.
func newEnvironment(t testing.TB) *environment {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel() // tests mostly wait
	}
	env := bareEnvironment(t)
	if err := streams.Setup(t.Context(), env.js, streams.Settings{Replicas: 1, ResultsMaxAge: 720 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	return env
}

// bareEnvironment returns an environment without streams.
func bareEnvironment(t testing.TB) *environment {
	t.Helper()
	env := &environment{TB: t, server: startServer(t, filepath.Join(t.TempDir(), "js"), 0)}
	env.nc, env.js = env.connect()
	return env
}

func (env *environment) connect() (*nats.Conn, jetstream.JetStream) {
	env.Helper()
	nc, err := nats.Connect(env.server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		env.Fatal(err)
	}
	env.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		env.Fatal(err)
	}
	return nc, js
}

// fakeAPI is a Deleter whose answers a test decides.
type fakeAPI struct {
	answer func(call int, res events.Resource) deleter.Answer

	mu    sync.Mutex
	calls []string
}

func (a *fakeAPI) Delete(_ context.Context, res events.Resource) deleter.Answer {
	a.mu.Lock()
	a.calls = append(a.calls, fmt.Sprint(res))
	n := len(a.calls)
	a.mu.Unlock()
	answer := a.answer(n, res)
	answer.ObservedAt, answer.CallID = time.Now(), ledger.NewID()
	return answer
}

func (a *fakeAPI) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls)
}

var (
	answerDeleted      = deleter.Answer{Verdict: deleter.Deleted, Status: 200, Message: "done"}
	answerNotFound     = deleter.Answer{Verdict: deleter.NotFound, Status: 404}
	answerPending      = deleter.Answer{Verdict: deleter.AcceptedPending, Status: 202}
	answerLost         = deleter.Answer{Verdict: deleter.Retry, Message: "connection lost", MayHaveDeleted: true}
	answerBusy         = deleter.Answer{Verdict: deleter.Retry, Status: 429, Message: "slow down"}
	answerUndocumented = deleter.Answer{Verdict: deleter.Retry, UnknownStatus: true, Status: 410, Message: "gone"}
	answerForbidden    = deleter.Answer{Verdict: deleter.CredentialRefused, Status: 403, Message: "not yours"}
	answerUnauthorized = deleter.Answer{Verdict: deleter.CredentialRefused, Status: 401, Message: "who are you"}
)

// answering returns a fake that gives the answers in order, and the last one from then on.
func answering(answers ...deleter.Answer) *fakeAPI {
	return &fakeAPI{answer: func(call int, _ events.Resource) deleter.Answer { return answers[min(call, len(answers))-1] }}
}

// config returns a lane's configuration with short waits.
func (env *environment) config(target events.Target, d deleter.Deleter) Config {
	return Config{
		Target: target, Deleter: d, RecordAttempts: target == events.SensayKnowledgeBase,
		Concurrency: 8, Timeout: time.Second, Instance: ledger.NewID(), Grace: 5 * time.Second,
		Rules: Rules{
			ConfirmAfter: 50 * time.Millisecond,
			Retry:        Policy{InitialInterval: 10 * time.Millisecond, Multiplier: 1.5, MaxInterval: 100 * time.Millisecond, MaxElapsed: 20 * time.Second},
		},
		Log: testLog(),
	}
}

// run runs a lane until the test ends or stop is called.
func (env *environment) run(c Config) (l *Lane, stop func()) {
	env.Helper()
	_, js := env.connect()
	l = New(js, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			env.Errorf("the lane ended with %v", err)
		}
	})
	env.Cleanup(stop)
	return l, stop
}

func contexts(ids ...int64) events.Request {
	return events.NewRequest("/test", events.UserContexts{IDs: ids})
}

func entry(id int64) events.Request {
	return events.NewRequest("/test", events.KnowledgeBaseEntry{ReplicaUUID: uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"), KnowledgeBaseID: id})
}

func (env *environment) publish(requests ...events.Request) {
	env.Helper()
	for _, r := range requests {
		body, err := r.Encode()
		if err != nil {
			env.Fatal(err)
		}
		env.publishRaw(r.Target(), body, nil)
	}
}

// publishRaw publishes without a message id, so that the stream accepts repeats.
func (env *environment) publishRaw(target events.Target, body []byte, header nats.Header) uint64 {
	env.Helper()
	msg := &nats.Msg{Subject: events.RequestSubject(target), Data: body, Header: header}
	ack, err := env.js.PublishMsg(env.Context(), msg)
	if err != nil {
		env.Fatal(err)
	}
	return ack.Sequence
}

// results returns all results on a subject filter, oldest first.
func (env *environment) results(filter string) []events.Result {
	env.Helper()
	var all []events.Result
	for _, m := range env.messages(events.StreamResults, filter) {
		r, err := events.ReadResult(m.Header, m.Data)
		if err != nil {
			env.Fatalf("%s: %v", m.Subject, err)
		}
		if !strings.HasSuffix(m.Subject, "."+r.RequestID+"."+string(r.Outcome)) {
			env.Fatalf("%s holds a result of %s, %s", m.Subject, r.RequestID, r.Outcome)
		}
		all = append(all, r)
	}
	return all
}

// messages reads a stream message by message, without a consumer: a work queue
// allows only one for a subject.
func (env *environment) messages(stream, filter string) []*jetstream.RawStreamMsg {
	env.Helper()
	s, err := env.js.Stream(env.Context(), stream)
	if err != nil {
		env.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	state := s.CachedInfo().State
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(env.Context(), seq, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			env.Fatal(err)
		}
		seq = m.Sequence // the next match, which may be further on
		all = append(all, m)
	}
	return all
}

// final waits for the final result of an id.
func (env *environment) final(target events.Target, id string) events.Result {
	env.Helper()
	var found events.Result
	env.until("a final result of "+id, func() bool {
		ctx, cancel := context.WithTimeout(env.Context(), time.Second) // the server may be down
		defer cancel()
		m, err := streams.LastMessage(ctx, env.js, events.StreamResults, events.ResultFilter(target, id, ""))
		if err != nil || m == nil {
			return false
		}
		if found, err = events.ReadResult(m.Header, m.Data); err != nil {
			env.Fatal(err)
		}
		return found.Outcome.Final()
	})
	return found
}

// settled waits until the streams in which requests wait are empty.
func (env *environment) settled() {
	env.Helper()
	env.settledOn(events.StreamRequests, events.StreamLater)
}

// settledOn waits until these streams are empty.
func (env *environment) settledOn(streams ...string) {
	env.Helper()
	env.until("every message is acknowledged", func() bool {
		for _, name := range streams {
			s, err := env.js.Stream(env.Context(), name)
			if err != nil {
				return false
			}
			if s.CachedInfo().State.Msgs > 0 {
				return false
			}
		}
		return true
	})
}

// waiting waits until the only request is acknowledged and its next step is scheduled.
func (env *environment) waiting() {
	env.Helper()
	env.until("a step is scheduled", func() bool { return len(env.messages(events.StreamLater, "deletions.later.>")) == 1 })
	env.until("the request is acknowledged", func() bool { return len(env.messages(events.StreamRequests, ">")) == 0 })
}

// until waits for a condition.
func (env *environment) until(what string, ok func() bool) {
	env.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			env.Fatalf("timed out after %s waiting until %s", patience, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// testLog returns a lane's log, which is shown if LETHE_TEST_LOG is set.
func testLog() *slog.Logger {
	if os.Getenv("LETHE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
