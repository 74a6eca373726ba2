package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/streams"
)

// The other secrets of a worker.
const (
	natsPassword = "nats-Password-that-must-not-leak"
	collectorKey = "collector-Key-that-must-not-leak"
)

// haystack is all output of the program, by place.
type haystack struct {
	mu    sync.Mutex
	where map[string]*bytes.Buffer
}

func (h *haystack) add(where string, text []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.where == nil {
		h.where = map[string]*bytes.Buffer{}
	}
	if h.where[where] == nil {
		h.where[where] = &bytes.Buffer{}
	}
	h.where[where].Write(append(text, '\n'))
}

func (h *haystack) size(where string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.where[where] == nil {
		return 0
	}
	return h.where[where].Len()
}

// collector is an OTLP/HTTP collector that stores what it receives, and echoes its key
// the first time.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	keyed int // requests with the key
}

func newCollector(t *testing.T, seen *haystack) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unzipped
		}
		raw, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
			return
		}
		seen.add("OTLP "+r.URL.Path, raw)
		c.mu.Lock()
		defer c.mu.Unlock()
		if key := r.Header.Get("Authorization"); strings.HasSuffix(key, collectorKey) {
			if c.keyed++; c.keyed == 1 {
				http.Error(w, "not your key: "+key, http.StatusBadRequest)
				return
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// leakSearch is the built program, a server with a password, and the output of both.
type leakSearch struct {
	*bench
	seen *haystack
	env  []string
	bin  string
	dir  string
}

func newLeakSearch(t *testing.T) *leakSearch {
	t.Helper()
	t.Parallel()
	ns, js := e2e.Serve(t, e2e.ServerConfig{Dir: filepath.Join(t.TempDir(), "js"), User: "lethe", Password: natsPassword})
	nc := js.Conn()
	if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1, ResultsMaxAge: 720 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	s := &leakSearch{bench: &bench{T: t, server: ns, js: js}, seen: &haystack{}, bin: buildLethe(t), dir: t.TempDir()}
	// All messages on the server, including replies.
	all, err := nc.Subscribe(">", func(m *nats.Msg) {
		header, _ := json.Marshal(m.Header) // texts
		s.seen.add("NATS", fmt.Appendf(nil, "%s %s %s", m.Subject, header, m.Data))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := all.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"LETHE_NATS_URL=" + strings.Replace(ns.ClientURL(), "://", "://lethe:"+natsPassword+"@", 1)}
	return s
}

// run runs the worker until the test ends or the process exits.
func (s *leakSearch) run(env ...string) (w *e2e.Process, admin string) {
	s.Helper()
	address, err := freeAddress()
	if err != nil {
		s.Fatal(err)
	}
	w = &e2e.Process{
		Name: "lethe", Path: s.bin, Args: []string{"run"}, Log: filepath.Join(s.dir, "stderr"),
		Env: append(append([]string{"LETHE_ADMIN_ADDR=" + address, "LETHE_LOG_LEVEL=debug", "GOTRACEBACK=all"}, s.env...), env...),
	}
	if err := w.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		w.Kill()
		if s.Failed() {
			s.Logf("the last lines of the worker:\n%s", w.Tail(15))
		}
	})
	admin = "http://" + address
	s.until("the worker answers", func() bool {
		if !w.Running() {
			s.Fatalf("the worker ended with %v", w.Err())
		}
		response, err := http.Get(admin + "/healthz")
		return err == nil && response.Body.Close() == nil
	})
	return w, admin
}

// command runs lethe with arguments in the worker's environment, and stores its output.
func (s *leakSearch) command(args ...string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Env = append(os.Environ(), s.env...)
	output, err := cmd.CombinedOutput() // some exit with 1
	if ctx.Err() != nil {
		s.Fatalf("lethe %v: %v", args, err)
	}
	s.seen.add("lethe "+strings.Join(args, " "), output)
	return string(output)
}

func (s *leakSearch) pages(admin string) {
	s.Helper()
	for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
		response, err := http.Get(admin + page)
		if err != nil {
			s.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			s.Fatal(err)
		}
		header, _ := json.Marshal(response.Header) // texts
		s.seen.add(page, append(header, body...))
	}
}

// stored reads every message of the three streams.
func (s *leakSearch) stored() {
	s.Helper()
	for _, name := range []string{events.StreamRequests, events.StreamResults, events.StreamLater} {
		stream, err := s.js.Stream(s.Context(), name)
		if err != nil {
			s.Fatal(err)
		}
		state := stream.CachedInfo().State
		for seq := state.FirstSeq; seq > 0 && seq <= state.LastSeq; seq++ {
			if msg, err := stream.GetMsg(s.Context(), seq); err == nil { // others were acknowledged
				header, _ := json.Marshal(msg.Header) // texts
				s.seen.add(name, fmt.Appendf(nil, "%s %s %s", msg.Subject, header, msg.Data))
			}
		}
	}
}

// helps returns the command lines of all help texts.
func helps(c *cobra.Command, way ...string) [][]string {
	all := [][]string{append(append([]string{}, way...), "--help")}
	for _, below := range c.Commands() {
		all = append(all, helps(below, append(append([]string{}, way...), below.Name())...)...)
	}
	return all
}

// searched reports each place that contains one of the secrets or that is empty. It
// first checks that the search finds them.
func (s *leakSearch) searched(secrets []string, places ...string) {
	s.Helper()
	search := newNeedles(secrets...)
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	for _, place := range places {
		if s.seen.where[place] == nil || len(bytes.TrimSpace(s.seen.where[place].Bytes())) == 0 {
			s.Errorf("%s: nothing to search", place)
		}
	}
	for place, text := range s.seen.where {
		if found := search.in(text.Bytes()); found != "" {
			s.Errorf("%s shows a secret, %s", place, found)
		}
		half := len(text.Bytes()) / 2
		for _, secret := range secrets {
			planted := append(append(append([]byte{}, text.Bytes()[:half]...), secret...), text.Bytes()[half:]...)
			if search.in(planted) == "" {
				s.Errorf("%s: a secret put there is not found", place)
			}
		}
	}
}

// suspended counts the suspended lanes of all workers in the output of `lethe status`.
func suspended(output string) (lanes int) {
	var s status
	if json.Unmarshal([]byte(output), &s) != nil {
		return 0
	}
	for _, w := range s.Workers {
		for _, lane := range w.Lanes {
			if lane.Status == consumer.StatusSuspended {
				lanes++
			}
		}
	}
	return lanes
}

// withheld matches the log record of a library's text that contained the credential.
var withheld = regexp.MustCompile(`log from a library.*message[=":]+\[redacted\]`)

// All output of the program is searched. The APIs and the collector echo what they
// were sent in every way that HTTP and JSON allow.
func TestAnEchoedCredentialIsNeverShown(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		t.Run("log as "+format, func(t *testing.T) {
			s := newLeakSearch(t)
			apis, otlp := newEchoServer(t), newCollector(t, s.seen)
			s.env = append(s.env,
				"LETHE_KV_BATCH_IDS=1", "LETHE_KV_BASE_URL="+apis.URL, "LETHE_KV_ACCESS_KEY="+echoedKey,
				"LETHE_SENSAY_BASE_URL="+apis.URL, "LETHE_SENSAY_ORGANIZATION_SECRET="+echoedSecret,
				"LETHE_RETRY_INITIAL_INTERVAL=1ms", "LETHE_RETRY_MAX_INTERVAL=5ms", "LETHE_RETRY_MAX_ELAPSED=100ms", "LETHE_CONFIRM_AFTER=50ms", "LETHE_LOG_FORMAT="+format,
				"OTEL_EXPORTER_OTLP_ENDPOINT="+otlp.URL, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20"+collectorKey,
				"OTEL_METRIC_EXPORT_INTERVAL=200", "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_BLRP_SCHEDULE_DELAY=100",
			)
			w, admin := s.run()

			var requests []events.Request
			for i := range echoes {
				n := int64(i + 1)
				requests = append(requests, s.publish(entryOf(n)), s.publish(events.UserContexts{IDs: []int64{n}}))
			}
			for _, r := range requests {
				s.final(r)
			}

			// A suspended lane shows its reason in more places.
			apis.setRefuse(true)
			refused := []events.Request{s.publish(entryOf(firstRefused)), s.publish(events.UserContexts{IDs: []int64{firstRefused}})}
			s.until("both lanes are suspended", func() bool { return suspended(s.command("status", "--output", "json")) == 2 })
			s.command("status")
			s.pages(admin)
			s.stored()
			apis.setRefuse(false)
			for _, r := range refused {
				s.final(r)
			}
			s.command("request", "kv-user-context", "--id", "1", "--wait")
			s.command("results")
			s.command("results", "--output", "json")
			s.command("show", requests[0].ID)
			s.command("failed", "list")
			s.command("failed", "list", "--output", "json")
			for _, line := range helps(newRootCommand()) {
				s.command(line...)
			}
			s.pages(admin)
			s.stored()

			s.publish(entryOf(firstStuck))
			s.publish(events.UserContexts{IDs: []int64{firstStuck}})
			<-apis.stuck
			<-apis.stuck
			s.stored()
			for _, file := range []string{"cmdline", "comm", "status"} {
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", w.PID(), file))
				if err != nil {
					t.Fatal(err)
				}
				s.seen.add(file, text)
			}
			for _, path := range []string{"OTLP /v1/traces", "OTLP /v1/metrics", "OTLP /v1/logs"} {
				s.until(path, func() bool { return s.seen.size(path) > 0 })
			}
			// The stacks of all goroutines, with both calls in flight.
			if err := w.Signal(syscall.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			<-w.Done()
			output, err := os.ReadFile(w.Log)
			if err != nil {
				t.Fatal(err)
			}
			s.seen.add("stderr", output)

			s.searched([]string{echoedKey, echoedSecret, natsPassword, collectorKey},
				"stderr", "NATS", "/metrics", "/readyz", "/healthz", "cmdline", "OTLP /v1/traces", "OTLP /v1/metrics", "OTLP /v1/logs",
				events.StreamRequests, events.StreamResults, events.StreamLater, "lethe status --output json", "lethe status",
				"lethe results --output json", "lethe failed list", "lethe failed list --output json", "lethe --help", "lethe run --help")

			// All echoes were used.
			apis.mu.Lock()
			defer apis.mu.Unlock()
			for header, right := range apis.right {
				if right < len(echoes) {
					t.Errorf("%s was sent %d times for %d echoes", header, right, len(echoes))
				}
			}
			if len(apis.right) != 2 || apis.wrong != 0 || apis.followed != 0 {
				t.Errorf("right secrets %v, %d wrong secrets, %d redirects followed", apis.right, apis.wrong, apis.followed)
			}
			if !strings.Contains(s.seen.where[events.StreamResults].String(), `"Lethe-Answer":["`) {
				t.Error("no attempt contains the answer of the API")
			}
			if otlp.keyed == 0 {
				t.Error("the collector's key was never sent")
			}
			for _, place := range []string{"stderr", "/readyz", events.StreamResults, "OTLP /v1/logs", "lethe status", "lethe failed list", "lethe results --output json"} {
				if !strings.Contains(s.seen.where[place].String(), "[redacted]") {
					t.Errorf("%s shows no redacted echo", place)
				}
			}
			if !withheld.Match(output) {
				t.Error("stderr shows no redacted text of a library")
			}
			for _, words := range []string{"Unsolicited response", "more: nothing", "SIGQUIT", "net/http.(*persistConn)", "not your key: [redacted]", "worker started"} {
				if !strings.Contains(string(output), words) {
					t.Errorf("stderr does not contain %q", words)
				}
			}
		})
	}
}
