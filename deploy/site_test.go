package deploy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/internal/e2e"
)

// The parties of accounts.conf, by the names of their certificates.
var parties = []string{"publisher-kv", "publisher-sensay", "worker", "subscriber", "admin"}

// site is a NATS server that runs from deploy/nats, with certificates that certs.sh made.
type site struct {
	dir    string
	url    string
	server *server.Server
}

// made is what the tests of this package share: a folder with deploy/nats, its certificates and the lethe command.
var made = sync.OnceValues(func() (dir string, err error) {
	if madeDir, err = os.MkdirTemp("", "lethe-deploy-"); err != nil {
		return "", err
	}
	for _, name := range []string{"server.conf", "cluster.conf", "accounts.conf", "certs.sh"} {
		text, err := os.ReadFile(filepath.Join("nats", name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(madeDir, name), text, 0o700); err != nil {
			return "", err
		}
	}
	_, err = e2e.Build(context.Background(), madeDir, e2e.Lethe)
	return madeDir, err
})

var madeDir string

func TestMain(m *testing.M) {
	status := m.Run()
	if madeDir != "" {
		_ = os.RemoveAll(madeDir) // it is a temporary one
	}
	os.Exit(status)
}

// files gives that folder and goes there for the rest of the test: the configuration names files relative to where
// the server starts.
func files(t *testing.T) (dir string) {
	t.Helper()
	dir, err := made()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	certify(t)
	return dir
}

// certify runs certs.sh.
func certify(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "./certs.sh", args...).CombinedOutput(); err != nil {
		t.Fatalf("certs.sh %q: %v: %s", args, err, out)
	}
}

// options reads a configuration as the server does, and moves it to a free port of loopback.
func options(t *testing.T, name string) *server.Options {
	t.Helper()
	opts, err := server.ProcessConfigFile(name)
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	opts.StoreDir = t.TempDir()
	return opts
}

// newSite starts server.conf. Beyond the parties it knows an owner of each account, who may do everything there:
// "owner-lethe" and so on. Only the test has their certificates.
func newSite(t *testing.T) *site {
	t.Helper()
	files(t)
	return siteOf(t, options(t, "server.conf"))
}

func siteOf(t *testing.T, opts *server.Options) *site {
	t.Helper()
	addOwners(t, opts)
	s := &site{dir: files(t)}
	s.server, s.url = startServer(t, opts)
	return s
}

func addOwners(t *testing.T, opts *server.Options) {
	t.Helper()
	for _, account := range opts.Accounts {
		name := owner(account.Name)
		certify(t, "client", name)
		opts.Users = append(opts.Users, &server.User{Username: "CN=" + name, Account: account})
	}
}

func owner(account string) string { return "owner-" + strings.ToLower(account) }

func (s *site) lethe() string { return filepath.Join(s.dir, string(e2e.Lethe)) }

// pem is the path of a certificate or key.
func (s *site) pem(name string) string { return filepath.Join(s.dir, "certs", name) }

// connect connects as a party, with nats.go alone.
func (s *site) connect(t *testing.T, party string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.url, nats.RootCAs(s.pem("ca.pem")), nats.ClientCert(s.pem(party+".pem"), s.pem(party+".key")),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // LastError tells
	if err != nil {
		t.Fatalf("%s: %v", party, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// tlsConfig is that of a client with the given certificate; "" for none.
func (s *site) tlsConfig(t *testing.T, ca, party string) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	if !c.RootCAs.AppendCertsFromPEM(read(t, s.pem(ca))) {
		t.Fatalf("%s holds no certificate", ca)
	}
	if party != "" {
		pair, err := tls.LoadX509KeyPair(s.pem(party+".pem"), s.pem(party+".key"))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// settings are those with which a command is a party.
func (s *site) settings(party string) []string {
	return []string{
		"LETHE_NATS_URL=" + s.url, "LETHE_NATS_CA=" + s.pem("ca.pem"),
		"LETHE_NATS_CERT=" + s.pem(party+".pem"), "LETHE_NATS_KEY=" + s.pem(party+".key"),
	}
}

// command is how a command of Lethe's ended.
type command struct {
	stdout, stderr string
	status         int
}

// run runs `lethe` as a party, for as long as no command of a well-behaved server takes.
func (s *site) run(t *testing.T, party string, args ...string) command {
	t.Helper()
	return s.runWith(t, s.settings(party), args...)
}

func (s *site) runWith(t *testing.T, settings []string, args ...string) command {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.lethe(), args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LETHE_") && !strings.HasPrefix(v, "NATS_") && !strings.HasPrefix(v, "OTEL_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, settings...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("lethe %q: %v: %s", args, errors.Join(err, ctx.Err()), stderr.String())
	}
	return command{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must fails the test unless the command did what was asked.
func (c command) must(t *testing.T) command {
	t.Helper()
	if c.status != 0 {
		t.Fatalf("exit status %d: %s%s", c.status, c.stdout, c.stderr)
	}
	return c
}

// worker starts `lethe run` against an API, as the README of deploy/nats says, until the test ends.
func (s *site) worker(t *testing.T, api string) *e2e.Process {
	t.Helper()
	p := &e2e.Process{Name: "worker", Path: s.lethe(), Args: []string{"run"}, Log: filepath.Join(t.TempDir(), "worker.log")}
	p.Env = append(s.settings("worker"),
		"LETHE_MANAGE_STREAMS=false", "LETHE_ADMIN_ADDR=127.0.0.1:0", "LETHE_RETRY_INITIAL_INTERVAL=10ms", "LETHE_RETRY_MAX_ELAPSED=300ms",
		"LETHE_KV_BATCH_IDS=1", "LETHE_KV_BASE_URL="+api, "LETHE_KV_ACCESS_KEY=sandbox-access-key",
		"LETHE_SENSAY_BASE_URL="+api, "LETHE_SENSAY_ORGANIZATION_SECRET=sandbox-organization-secret")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the worker said:\n%s", p.Tail(20))
		}
	})
	return p
}

// until waits for a condition, and fails the test if it does not come about.
func until(t *testing.T, what string, holds func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func wantOutput(got command, want string) error {
	if !strings.Contains(got.stdout, want) {
		return fmt.Errorf("status %d, want %q in %q %q", got.status, want, got.stdout, got.stderr)
	}
	return nil
}
