package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/natsconn"
)

// serve runs a server with a configuration file. DIR stands for a temporary directory, FREE for a free port.
func serve(t *testing.T, config string) *server.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	config = strings.NewReplacer("DIR", fmt.Sprintf("%q", t.TempDir()), "FREE", "-1").Replace(config)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	options.Host, options.NoSigs, options.NoLog = "127.0.0.1", true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	return s
}

// lethe runs a command and returns its exit status and its last line on standard error.
func lethe(t *testing.T, env []string, args ...string) (status int, line string) {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "lethe", args...)
	cmd.Env = append(os.Environ(), append([]string{"LETHE_ADMIN_ADDR=" + address, "LETHE_LOG_FORMAT=json"}, env...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	return cmd.ProcessState.ExitCode(), lines[len(lines)-1]
}

func TestAServerThatCannotBeUsedIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	accounts := serve(t, `port: FREE, jetstream { store_dir: DIR }, accounts { A { jetstream: enabled, users: [{user: a, password: a}] }, B { users: [{user: b, password: b}] } }`)
	none := serve(t, `port: FREE`)
	closed, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	user := func(user string) string { return strings.Replace(accounts.ClientURL(), "://", "://"+user+"@", 1) }
	tests := []struct {
		name     string
		commands []string
		env      string
		status   int
		want     string
	}{
		{"an account without JetStream", []string{"run", "setup", "status", "results"}, "LETHE_NATS_URL=" + user("b:b"), 2, "lethe: LETHE_NATS_URL: JetStream is not enabled on NATS: the account"},
		{"a server without JetStream", []string{"run", "setup", "status"}, "LETHE_NATS_URL=" + none.ClientURL(), 2, "lethe: LETHE_NATS_URL: JetStream is not enabled on NATS: start the server (version"},
		{"replicas without a cluster", []string{"run", "setup"}, "LETHE_NATS_URL=" + user("a:a") + "\nLETHE_STREAM_REPLICAS=3", 2, "lethe: LETHE_STREAM_REPLICAS: 3 replicas need a cluster"},
		{"a wrong password", []string{"run", "status"}, "NATS_URL=" + user("a:hush"), 2, "lethe: NATS_URL: NATS refused the credential"},
		{"an IPv6 address without brackets", []string{"run", "status"}, "LETHE_NATS_URL=nats://::1:14222", 2, "lethe: LETHE_NATS_URL: must have an IPv6 address in brackets"},
		{"a domain that does not answer", []string{"status"}, "LETHE_NATS_URL=" + user("a:a") + "\nLETHE_JETSTREAM_DOMAIN=nope", 1, `lethe: LETHE_JETSTREAM_DOMAIN: no JetStream answers in the domain "nope"`},
		{"no server", []string{"status", "setup", "results"}, "LETHE_NATS_URL=" + closed, 1, "lethe: LETHE_NATS_URL: cannot reach NATS at nats://" + closed},
		{"no server, and no URL", []string{"status"}, "LETHE_EMBEDDED_ADDR=" + closed, 1, "lethe: LETHE_NATS_URL: cannot reach NATS at nats://" + closed + ": connection refused (LETHE_NATS_URL is not set"},
	}
	for _, tt := range tests {
		for _, command := range tt.commands {
			t.Run(tt.name+": "+command, func(t *testing.T) {
				t.Parallel()
				status, line := lethe(t, strings.Split(tt.env, "\n"), command)
				if status != tt.status || !strings.HasPrefix(line, tt.want) || strings.Contains(line, "nats: nats:") {
					t.Errorf("exit status %d, want %d; stderr %q, want %q", status, tt.status, line, tt.want)
				}
			})
		}
	}
}

// A hub and a leaf node, each with its own JetStream domain.
func TestAJetStreamDomain(t *testing.T) {
	b := newBench(t)
	hub := serve(t, `port: FREE, server_name: hub, jetstream { store_dir: DIR, domain: hub }, leafnodes { host: 127.0.0.1, port: FREE }`)
	info, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf := serve(t, fmt.Sprintf(`port: FREE, server_name: leaf, jetstream { store_dir: DIR, domain: leaf }, leafnodes { remotes: [{url: "nats-leaf://127.0.0.1:%d"}] }`, info.LeafNode.Port))
	b.until("the leaf is joined", func() bool { return hub.NumLeafNodes() == 1 && leaf.NumLeafNodes() == 1 })
	atLeaf := []string{"LETHE_NATS_URL=" + leaf.ClientURL()}
	fromLeaf := slices.Concat(atLeaf, []string{"LETHE_JETSTREAM_DOMAIN=hub"})

	if status, line := lethe(t, fromLeaf, "setup"); status != 0 {
		t.Fatalf("setup: %d, %s", status, line)
	}
	b.start("NATS_URL="+leaf.ClientURL(), "JETSTREAM_DOMAIN=hub")
	for _, args := range [][]string{
		{"request", "kv-user-context", "--id", "1", "--wait"},
		{"request", "sensay-knowledge-base", "--replica", demoReplica.String(), "--entry", "1", "--wait"},
		{"results"}, {"failed", "list"},
	} {
		if status, line := lethe(t, fromLeaf, args...); status != 0 {
			t.Errorf("%v: %d, %s", args, status, line)
		}
	}
	if calls := len(b.apis.Deleted()); calls != 2 {
		t.Errorf("%d deleted, want 2", calls)
	}
	for _, command := range []string{"run", "setup"} {
		status, line := lethe(t, atLeaf, command)
		if status != 2 || !strings.HasPrefix(line, "lethe: LETHE_JETSTREAM_DOMAIN: "+natsconn.ErrTwoDomains.Error()) {
			t.Errorf("%s at the leaf, in its own domain: %d, %s", command, status, line)
		}
	}
	nc, err := nats.Connect(leaf.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := natsconn.JetStream(nc, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Stream(t.Context(), events.StreamResults); err == nil {
		t.Error("a refused start created streams at the leaf")
	}
}

func TestADomainThatJoinsAfterTheStartBlocksTheLanes(t *testing.T) {
	b := newBench(t)
	hub := serve(t, `port: FREE, server_name: hub, jetstream { store_dir: DIR, domain: hub }, leafnodes { host: 127.0.0.1, port: FREE }`)
	info, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := b.start("NATS_URL=" + hub.ClientURL())
	is := func(status consumer.Status, code consumer.Code) func() bool {
		return func() bool {
			for _, target := range events.Targets() {
				if lane := w.lane(target); lane.Status != status || lane.Code != code {
					return false
				}
			}
			return true
		}
	}
	b.until("the lanes are running", is(consumer.StatusRunning, ""))

	leaf := serve(t, fmt.Sprintf(`port: FREE, server_name: leaf, jetstream { store_dir: DIR, domain: leaf }, leafnodes { remotes: [{url: "nats-leaf://127.0.0.1:%d"}] }`, info.LeafNode.Port))
	nc, err := nats.Connect(leaf.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := natsconn.JetStream(nc, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: events.StreamResults, Subjects: []string{"deletions.results.>"}}); err != nil {
		t.Fatal(err)
	}
	b.until("the lanes are blocked", is(consumer.StatusBlocked, consumer.CodeTwoDomains))
	lane := w.lane(events.KVUserContext)
	if !strings.Contains(lane.Reason, events.StreamResults) || !strings.Contains(lane.Fix, "LETHE_JETSTREAM_DOMAIN") || lane.Since.IsZero() {
		t.Errorf("the lane is %+v", lane)
	}

	leaf.Shutdown()
	b.until("the lanes are running again", is(consumer.StatusRunning, ""))
}

func TestAWorkerSurvivesAClosedStderr(t *testing.T) {
	b := newBench(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	w := exec.Command("lethe", "run")
	w.Stderr = write
	w.Env = append(os.Environ(), "LETHE_NATS_URL="+b.server.ClientURL(), "LETHE_ADMIN_ADDR="+address, "LETHE_LOG_LEVEL=debug",
		"LETHE_KV_BASE_URL="+b.url, "LETHE_KV_ACCESS_KEY="+testKey)
	if err := errors.Join(w.Start(), write.Close()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Process.Kill() }()
	if !bufio.NewScanner(read).Scan() {
		t.Fatal("the worker printed nothing")
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	if got := b.final(b.publish(events.UserContexts{IDs: []int64{1}})); got.Outcome != events.Deleted {
		t.Errorf("%s", got.Outcome)
	}
	if err := w.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}
func TestALostConnectionIsReportedOnce(t *testing.T) {
	b := newBench(t)
	config := `port: %s, jetstream { store_dir: %q }`
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	config = fmt.Sprintf(config, port, t.TempDir())
	s := serve(t, config)
	w := b.start("NATS_URL=" + address)
	b.until("the worker is ready", func() bool { r, err := w.ready(); return err == nil && r.Ready })
	s.Shutdown()
	s.WaitForShutdown()
	b.until("the worker logs the lost connection", func() bool { return strings.Contains(w.output(), "connection to NATS lost") })
	time.Sleep(3 * time.Second) // the outage: longer than requests to the server wait
	serve(t, config)
	b.until("the worker is ready again", func() bool { r, err := w.ready(); return err == nil && r.Ready })
	for text, want := range map[string]int{"connection to NATS lost": 1, "outbound buffer": 0, "cannot fetch messages": 0} {
		if got := strings.Count(w.output(), text); got != want {
			t.Errorf("%q is logged %d times, want %d", text, got, want)
		}
	}
}
