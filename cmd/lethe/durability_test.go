package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/streams"
)

// serverWith runs a server with a sync_interval. Its user "asks" has the permission to read it;
// its user "works" does not.
func serverWith(t *testing.T, sync string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "server.conf")
	text := fmt.Sprintf(`
listen: "127.0.0.1:-1"
jetstream { store_dir: %q, sync_interval: %s }
system_account: SYS
accounts {
  SYS { exports: [ { service: %q, response_type: stream } ] }
  OWN {
    jetstream: enabled
    imports: [ { service: { account: SYS, subject: %q } } ]
    users: [
      { user: asks, password: x }
      { user: works, password: x, permissions: { publish: ["$JS.>", "$KV.lethe-control.lane.*"], subscribe: "_INBOX.>" } }
    ]
  }
}
`, dir, sync, jszSubject, jszSubject)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.Addr().String()
}

// Messages that a power cut could lose are reported if the servers report their settings.
func TestLossByAPowerCutIsReported(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sync     string
		user     string
		embedded *syncing
		want     string
	}{
		"a server that syncs at an interval":            {"'1m'", "asks", nil, "and 4 of the streams have fewer than 3 replicas: a power cut loses the requests, results, retries and pauses acknowledged since the last sync"},
		"a server that always syncs":                    {"always", "asks", nil, ""},
		"a server that denies the request":              {"always", "works", nil, "pauses"},
		"the embedded server":                           {"'1m'", "works", &syncing{server: "the embedded server", always: true}, ""},
		"the embedded server that syncs at an interval": {"'1m'", "works", &syncing{server: "the embedded server", interval: time.Second}, "the embedded server syncs to disk every 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serverWith(t, c.sync)
			fatal := make(chan error, 1)
			nc, err := natsconn.Connect(t.Context(), natsconn.Config{
				URL: "nats://" + c.user + ":x@" + address, OnFatal: func(err error) { fatal <- err }, OptionalSubjects: []string{jszSubject},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1, ResultsMaxAge: 720 * time.Hour}); err != nil {
				t.Fatal(err)
			}
			warnings, known, err := durability(t.Context(), nc, js, c.embedded)
			if err != nil {
				t.Fatal(err)
			}
			if known != (c.user == "asks" || c.embedded != nil) {
				t.Errorf("known: %v", known)
			}
			if len(warnings) > 1 || !strings.Contains(strings.Join(warnings, ""), c.want) || (len(warnings) == 0) != (c.want == "") {
				t.Errorf("warnings %q, want %q", warnings, c.want)
			}
			if err := nc.FlushTimeout(10 * time.Second); err != nil { // any denial has arrived by now
				t.Fatal(err)
			}
			select {
			case err := <-fatal:
				t.Errorf("the connection was closed: %v", err)
			default:
			}
		})
	}
}
