package deploy

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/internal/lab"
)

func TestProductionServersKeepWhatTheyAcknowledge(t *testing.T) {
	t.Setenv("NAME", "a")
	t.Setenv("ROUTE_1", "nats-route://b.example:6222")
	t.Setenv("ROUTE_2", "nats-route://c.example:6222")
	s := &stage{dir: t.TempDir()}
	s.furnish(t)
	t.Chdir(s.dir)
	for _, name := range []string{"server.conf", "cluster.conf"} {
		opts, err := server.ProcessConfigFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !opts.SyncAlways || opts.MaxPayload < 256<<10 || opts.TLSConfig == nil || opts.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert || !opts.TLSMap || opts.NoAuthUser != "" {
			t.Errorf("%s: sync always %v, max payload %d, certificates mapped %v, user of those without %q", name, opts.SyncAlways, opts.MaxPayload, opts.TLSMap, opts.NoAuthUser)
		}
		if cluster := name == "cluster.conf"; cluster != (len(opts.Routes) == 2) || cluster != (opts.Cluster.TLSConfig != nil) {
			t.Errorf("%s: routes %v", name, opts.Routes)
		}
	}
}

func TestOnlyPartiesConnect(t *testing.T) {
	s := newStage(t)
	other := newAuthority(t, filepath.Join(t.TempDir(), "other"))
	other.issue(t, "admin", []string{"admin@lethe.example"}, nil)
	ca := nats.RootCAs(s.cert("ca.pem"))
	for name, options := range map[string][]nats.Option{
		"without a certificate":              {ca},
		"with a certificate of nobody":       {ca, nats.ClientCert(s.cert("stranger.pem"), s.cert("stranger-key.pem"))},
		"with another authority's":           {ca, nats.ClientCert(filepath.Join(other.dir, "admin.pem"), filepath.Join(other.dir, "admin-key.pem"))},
		"trusting another authority":         {nats.RootCAs(filepath.Join(other.dir, "ca.pem")), nats.ClientCert(s.cert("admin.pem"), s.cert("admin-key.pem"))},
		"with a name in place of a key":      {ca, nats.UserInfo("admin@lethe.example", "")},
		"with a password beside the streams": {ca, nats.UserInfo("LETHE", "LETHE")},
	} {
		if nc, err := nats.Connect(s.url, options...); err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
		}
	}
}

// The whole of Lethe's day, each command as its own party.
func TestEveryPartyDoesItsWork(t *testing.T) {
	lethe := build(t)
	s := newStage(t)
	s.lethe = lethe
	s.mustRun(t, "admin", "setup")

	api, err := lab.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	sandbox := &lab.Process{Name: "sandbox", Path: s.lethe, Args: []string{"sandbox", "--addr", api}, Log: filepath.Join(s.dir, "sandbox.log")}
	worker := &lab.Process{
		Name: "worker", Path: s.lethe, Args: []string{"run"}, Log: filepath.Join(s.dir, "worker.log"),
		Env: s.env("worker",
			"LETHE_MANAGE_STREAMS=false", "LETHE_ADMIN_ADDR=127.0.0.1:0", "LETHE_RETRY_INITIAL_INTERVAL=10ms",
			"LETHE_KV_BASE_URL=http://"+api, "LETHE_KV_ACCESS_KEY=sandbox-access-key",
			"LETHE_SENSAY_BASE_URL=http://"+api, "LETHE_SENSAY_ORGANIZATION_SECRET=sandbox-organization-secret"),
	}
	for _, p := range []*lab.Process{sandbox, worker} {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		defer p.Kill()
	}
	if err := lab.Listening(t.Context(), api); err != nil {
		t.Fatal(err)
	}

	const replica = "03db5651-cb61-4bdf-9ef0-89561f7c9c53"
	s.mustRun(t, "publisher", "request", "kv-user-context", "--id", "10", "--request-id", "one")
	s.mustRun(t, "kv-publisher", "request", "kv-user-context", "--id", "11", "--request-id", "two")
	s.mustRun(t, "publisher", "request", "sensay-knowledge-base", "--replica", replica, "--entry", "7", "--request-id", "three")
	if _, err := s.run(t, "kv-publisher", "request", "sensay-knowledge-base", "--replica", replica, "--entry", "8"); err == nil ||
		!strings.Contains(err.Error(), "deletions.requests.sensay-knowledge-base") {
		t.Errorf("a publisher of another target is told %v", err)
	}
	if _, err := s.run(t, "subscriber", "request", "kv-user-context", "--id", "12"); err == nil {
		t.Error("a subscriber published a request")
	}

	deadline := time.Now().Add(patience)
	var seen string
	for strings.Count(seen, "\n") < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("results: %q; the worker says:\n%s", seen, worker.Tail(20))
		}
		seen = s.mustRun(t, "subscriber", "results", "--outcome", "deleted", "--outcome", "not-found")
	}
	if out, err := s.run(t, "publisher", "results"); err == nil {
		t.Errorf("a publisher read results: %s", out)
	}
	if out := s.mustRun(t, "admin", "status"); strings.Contains(out, "warning") || !strings.Contains(out, "running") {
		t.Errorf("the administrator sees\n%s", out)
	}
	s.mustRun(t, "admin", "failed", "list")
	if err := worker.End(patience); err != nil {
		t.Errorf("the worker ended with %v:\n%s", err, worker.Tail(20))
	}
}

func TestThreeServersMakeACluster(t *testing.T) {
	s := &stage{dir: t.TempDir()}
	s.furnish(t)
	t.Chdir(s.dir)
	var routes []string
	for range 3 {
		address, err := lab.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, address)
	}
	for i, name := range []string{"a", "b", "c"} {
		t.Setenv("NAME", name)
		t.Setenv("ROUTE_1", "nats-route://"+routes[(i+1)%3])
		t.Setenv("ROUTE_2", "nats-route://"+routes[(i+2)%3])
		opts, err := server.ProcessConfigFile("cluster.conf")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(routes[i], "127.0.0.1:%d", &opts.Cluster.Port); err != nil {
			t.Fatal(err)
		}
		opts.Host, opts.Port, opts.Cluster.Host, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, "127.0.0.1", true, true
		opts.StoreDir = filepath.Join(s.dir, name)
		s.url = strings.Replace(start(t, opts), "nats://", "tls://", 1)
	}
	nc, _ := s.connect(t, "admin")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		err := consumer.Setup(t.Context(), js, consumer.StreamSettings{Replicas: 3, ResultsMaxAge: time.Hour})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(t.Context(), "DELETION_RESULTS")
	if err != nil {
		t.Fatal(err)
	}
	if replicas := stream.CachedInfo().Config.Replicas; replicas != 3 {
		t.Errorf("%d replicas", replicas)
	}
}

// The script makes what the configuration needs. It runs where openssl is.
func TestTheScriptIssuesACertificateForEachParty(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not here")
	}
	s := &stage{dir: t.TempDir()}
	s.furnish(t)
	if err := os.RemoveAll(filepath.Join(s.dir, "certs")); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("nats/certs.sh")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(s.dir)
	if out, err := exec.CommandContext(t.Context(), "sh", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	opts, err := server.ProcessConfigFile("server.conf")
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s.url = strings.Replace(start(t, opts), "nats://", "tls://", 1)
	for _, party := range parties {
		s.connect(t, party)
	}
}
