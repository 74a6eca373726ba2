package observability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.yaml.in/yaml/v3"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

var binDir string

// lethe builds the command once for all tests.
var lethe = sync.OnceValues(func() (path string, err error) {
	if binDir, err = os.MkdirTemp("", "lethe-observability-"); err != nil {
		return "", err
	}
	built, err := e2e.Build(context.Background(), binDir, e2e.Lethe)
	return built[e2e.Lethe], err
})

func TestMain(m *testing.M) {
	status := m.Run()
	if binDir != "" {
		_ = os.RemoveAll(binDir) // it is a temporary one
	}
	os.Exit(status)
}

// stack is a NATS server, the sandbox and a worker, as in docker-compose.yml, and Prometheus if a test starts it.
type stack struct {
	*testing.T
	js                     jetstream.JetStream
	lethe                  string
	settings               []string
	worker                 *e2e.Process
	sandbox, admin, prober string // base URLs of the sandbox, the worker and Prometheus
}

func newStack(t *testing.T) *stack {
	t.Helper()
	path, err := lethe()
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{T: t, lethe: path, sandbox: "http://" + address(t), admin: "http://" + address(t)}
	server, js := e2e.Serve(t, e2e.ServerConfig{Dir: t.TempDir()})
	s.js = js
	s.settings = []string{
		"LETHE_NATS_URL=" + server.ClientURL(), "LETHE_ADMIN_ADDR=" + strings.TrimPrefix(s.admin, "http://"),
		"LETHE_KV_BASE_URL=" + s.sandbox, "LETHE_KV_ACCESS_KEY=sandbox-access-key",
		"LETHE_SENSAY_BASE_URL=" + s.sandbox, "LETHE_SENSAY_ORGANIZATION_SECRET=sandbox-organization-secret",
		"LETHE_KV_RATE=500", "LETHE_REQUESTS_MAX_BYTES=1073741824", // metrics that are absent without a limit
		"LETHE_RETRY_INITIAL_INTERVAL=100ms", "LETHE_RETRY_MAX_INTERVAL=500ms", // a lane recovers soon
	}
	s.start("sandbox", path, "sandbox", "--addr", strings.TrimPrefix(s.sandbox, "http://"))
	s.until("the sandbox answers", func() error { _, err := s.get(s.sandbox + "/_sandbox/"); return err })
	s.worker = s.start("worker", path, "run")
	s.ready()
	return s
}

func address(t *testing.T) string {
	t.Helper()
	a, err := e2e.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// start starts a program until the test ends.
func (s *stack) start(name, path string, args ...string) *e2e.Process {
	s.Helper()
	p := &e2e.Process{Name: name, Path: path, Args: args, Env: s.settings, Log: filepath.Join(s.TempDir(), name+".log")}
	if err := p.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		p.Kill()
		if s.Failed() {
			s.Logf("%s said:\n%s", name, p.Tail(20))
		}
	})
	return p
}

func (s *stack) ready() {
	s.Helper()
	s.until("the worker is ready", func() error { _, err := s.get(s.admin + "/readyz"); return err })
}

// run runs a command of Lethe until it ends.
func (s *stack) run(args ...string) string {
	s.Helper()
	p := s.start(args[0], s.lethe, args...)
	select {
	case <-p.Done():
	case <-time.After(time.Minute):
		s.Fatalf("lethe %q does not end", args)
	}
	if p.Err() != nil {
		s.Fatalf("lethe %q: %v: %s", args, p.Err(), p.Tail(5))
	}
	return p.Tail(1000)
}

// prometheus starts Prometheus as prometheus.yml says, but of this worker and in a hurry: it scrapes and evaluates
// each 200 ms instead of each 5 s, and an alert fires after 400 ms wherever the rules want it to be true for longer.
func (s *stack) prometheus(path string) {
	s.Helper()
	rules := readRules(s.T)
	for _, g := range rules.Groups {
		for i, r := range g.Rules {
			if r.For != "" {
				g.Rules[i].For = "400ms"
			}
		}
	}
	var config map[string]any
	text, err := os.ReadFile("prometheus.yml")
	if err == nil {
		err = yaml.Unmarshal(text, &config)
	}
	if err != nil {
		s.Fatal(err)
	}
	config["global"] = map[string]string{"scrape_interval": "200ms", "evaluation_interval": "200ms"}
	job, ok := config["scrape_configs"].([]any)[0].(map[string]any)
	if !ok || config["rule_files"].([]any)[0] != "rules.yml" {
		s.Fatalf("prometheus.yml has another form: %v", config)
	}
	job["static_configs"] = []any{map[string]any{"targets": []string{strings.TrimPrefix(s.admin, "http://")}}}
	dir := s.TempDir()
	for name, content := range map[string]any{"prometheus.yml": config, "rules.yml": rules} {
		text, err := yaml.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	listen := address(s.T)
	s.prober = "http://" + listen
	s.start("prometheus", path, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen, "--log.level=warn")
}

// until waits for a condition, and fails the test if it is not met.
func (s *stack) until(what string, met func() error) {
	s.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := met()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// get returns the body of an answer 200.
func (s *stack) get(url string) (string, error) { return s.do(http.MethodGet, url, "") }

func (s *stack) do(method, url, body string) (string, error) {
	request, err := http.NewRequestWithContext(s.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s %s: %s: %s", method, url, response.Status, text))
	}
	return string(text), err
}

// faults sets those of the sandbox, "" for none.
func (s *stack) faults(set string) {
	s.Helper()
	method := http.MethodPut
	if set == "" {
		method = http.MethodDelete
	}
	if _, err := s.do(method, s.sandbox+"/_sandbox/faults", set); err != nil {
		s.Fatal(err)
	}
}

// publish stores requests with new ids.
func (s *stack) publish(resources ...events.Resource) {
	s.Helper()
	for _, r := range resources {
		body, err := events.NewRequest("/observability", r).Encode()
		if err == nil {
			_, err = s.js.Publish(s.Context(), events.RequestSubject(r.Target()), body)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
}

// limitResults sets max_msgs of DELETION_RESULTS.
func (s *stack) limitResults(messages int64) {
	s.Helper()
	stream, err := s.js.Stream(s.Context(), events.StreamResults)
	if err != nil {
		s.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgs = messages
	if _, err := s.js.UpdateStream(s.Context(), config); err != nil {
		s.Fatal(err)
	}
}

// ask decodes an answer of Prometheus.
func (s *stack) ask(path string, into any) error {
	text, err := s.get(s.prober + path)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}
