package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/internal/lab"
)

var parties = []string{"publisher", "kv-publisher", "worker", "subscriber", "admin"}

// stage is a folder with the configuration as it is shipped, certificates for
// every party, and the server that runs on them.
type stage struct {
	dir   string
	url   string
	lethe string // the program
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{dir: t.TempDir()}
	s.furnish(t)
	t.Chdir(s.dir) // the configuration names its files from where the server is started
	opts, err := server.ProcessConfigFile("server.conf")
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s.url = strings.Replace(start(t, opts), "nats://", "tls://", 1)
	return s
}

// furnish copies the configuration and issues the certificates.
func (s *stage) furnish(t *testing.T) {
	t.Helper()
	for _, name := range []string{"server.conf", "cluster.conf", "accounts.conf"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), read(t, "nats/"+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := newAuthority(t, filepath.Join(s.dir, "certs"))
	a.issue(t, "server", nil, []string{"localhost", "127.0.0.1"})
	for _, party := range parties {
		a.issue(t, party, []string{party + "@lethe.example"}, nil)
	}
	a.issue(t, "stranger", []string{"stranger@lethe.example"}, nil)
}

// cert is the path of a file beside the server's.
func (s *stage) cert(name string) string { return filepath.Join(s.dir, "certs", name) }

// build builds Lethe, for the tests that run it.
func build(t *testing.T) string {
	t.Helper()
	programs, err := lab.Build(t.Context(), t.TempDir(), lab.Lethe)
	if err != nil {
		t.Fatal(err)
	}
	return programs[lab.Lethe]
}

// env are the settings that connect a party.
func (s *stage) env(party string, more ...string) []string {
	return append([]string{
		"LETHE_NATS_URL=" + s.url, "LETHE_NATS_CA=" + s.cert("ca.pem"),
		"LETHE_NATS_CERT=" + s.cert(party+".pem"), "LETHE_NATS_KEY=" + s.cert(party+"-key.pem"),
	}, more...)
}

// run runs a command of Lethe as a party.
func (s *stage) run(t *testing.T, party string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, s.lethe, args...)
	command.Env = s.env(party)
	var out, told bytes.Buffer
	command.Stdout, command.Stderr = &out, &told
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("lethe %s: %w: %s", strings.Join(args, " "), err, told.String())
	}
	return out.String(), nil
}

func (s *stage) mustRun(t *testing.T, party string, args ...string) string {
	t.Helper()
	out, err := s.run(t, party, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// connect connects a party, whose denials go to the channel.
func (s *stage) connect(t *testing.T, party string) (*nats.Conn, <-chan error) {
	t.Helper()
	denied := make(chan error, 16)
	nc, err := nats.Connect(s.url, nats.RootCAs(s.cert("ca.pem")), nats.ClientCert(s.cert(party+".pem"), s.cert(party+"-key.pem")),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatalf("%s: %v", party, err)
	}
	t.Cleanup(nc.Close)
	return nc, denied
}

// reached says whether somebody answers a party's request: false when it is
// denied, or when nobody is there for that party.
func reached(t *testing.T, nc *nats.Conn, denied <-chan error, msg *nats.Msg) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		select {
		case why := <-denied:
			t.Logf("%s: %v", msg.Subject, why)
			cancel()
		case <-ctx.Done():
		}
	}()
	reply, err := nc.RequestMsgWithContext(ctx, msg)
	switch {
	case err == nil:
		// An account without JetStream has somebody who says so.
		return !bytes.Contains(reply.Data, []byte(`"err_code":10039`))
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.Canceled):
		return false
	default:
		t.Fatalf("%s: %v", msg.Subject, err)
		return false
	}
}
