package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// teardown limits how long a process may take to exit.
const teardown = 30 * time.Second

// refused runs lethe, which must exit with status 2 and print one line that begins with
// want and contains none of the secrets in its environment.
func refused(t *testing.T, bin string, env []string, want string, secrets []string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), teardown)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &stdout, &stderr, t.TempDir()
	cmd.Env = append(append(os.Environ(), "LETHE_ADMIN_ADDR=127.0.0.1:0", "LETHE_EMBEDDED_ADDR=127.0.0.1:0", "LETHE_LOG_LEVEL=debug"), env...)
	err := cmd.Run()
	var status *exec.ExitError
	if !errors.As(err, &status) || status.ExitCode() != exitUsage {
		t.Errorf("ended with %v, want status %d", err, exitUsage)
	}
	// Log lines may come before it.
	lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "lethe: "+want) || len(last) > 300 {
		t.Errorf("the last line is %q, want one that begins with %q", last, "lethe: "+want)
	}
	for _, line := range lines[:len(lines)-1] {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("more than one line: %q", line)
		}
	}
	all := append(stdout.Bytes(), stderr.Bytes()...)
	search := newNeedles(secrets...)
	if found := search.in(all); found != "" {
		t.Errorf("shows a secret, %s", found)
	}
	if search.in(append(all, secrets[0]...)) == "" {
		t.Error("the search does not find a secret")
	}
}

func TestAWrongCredentialIsAnErrorThatDoesNotShowIt(t *testing.T) {
	t.Parallel()
	bin, dir := buildLethe(t), t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, lane := range []struct{ name, secret string }{{"LETHE_KV_ACCESS_KEY", echoedKey}, {"LETHE_SENSAY_ORGANIZATION_SECRET", echoedSecret}} {
		for what, tt := range map[string]struct{ set, want string }{
			"two lines":               {"=" + lane.secret + "\nX-Other: 1", ": must be one line"},
			"a control character":     {"=" + lane.secret + "\x01x", ": must be one line"},
			"a letter outside ASCII":  {"=" + lane.secret + "é", ": has characters"},
			"a trailing space":        {"=" + lane.secret + " ", ": has characters"},
			"too long":                {"=" + strings.Repeat(lane.secret, 200), ": is over"},
			"a file that is missing":  {"_FILE=" + filepath.Join(dir, "none"), "_FILE: "},
			"a file that is empty":    {"_FILE=" + file("empty", "\n"), "_FILE: the credential's file "},
			"a file that is huge":     {"_FILE=" + file("huge", strings.Repeat(lane.secret, 100_000)), "_FILE: the credential's file "},
			"a file of two lines":     {"_FILE=" + file("lines"+lane.name, lane.secret+"\n"+lane.secret+"\n"), "_FILE: the credential's file "},
			"a file of bytes":         {"_FILE=" + file("bytes"+lane.name, lane.secret+"\x00\xff"), "_FILE: the credential's file "},
			"a directory":             {"_FILE=" + dir, "_FILE: "},
			"the secret for its file": {"_FILE=" + lane.secret, "_FILE: must be the path of a readable file"},
			"a value and a file":      {"=" + lane.secret, ": must not be set together with " + lane.name + "_FILE"},
		} {
			t.Run(lane.name+", "+what, func(t *testing.T) {
				env := []string{lane.name + tt.set}
				if what == "a value and a file" {
					env = append(env, lane.name+"_FILE="+file("fine", lane.secret))
				}
				refused(t, bin, env, lane.name+tt.want, []string{lane.secret}, "run")
			})
		}
	}
}

func TestABaseURLMustBeSecure(t *testing.T) {
	t.Parallel()
	const password = "a-Password-in-a-URL-0001"
	bin := buildLethe(t)
	for _, name := range []string{"LETHE_KV_BASE_URL", "LETHE_SENSAY_BASE_URL"} {
		for url, want := range map[string]string{
			"http://api.example":                              ": must be https",
			"http://192.0.2.1:8080":                           ": must be https",
			"http://[2001:db8::1]":                            ": must be https",
			"http://localhost.example":                        ": must be https",
			"http://127.0.0.1.example":                        ": must be https",
			"HTTP://API.EXAMPLE":                              ": must be https",
			"http://0.0.0.0":                                  ": must be https",
			"ftp://api.example":                               ": must be a URL",
			"api.example":                                     ": must be a URL",
			"https://user:" + password + "@api.example":       ": must not contain a user",
			"https://" + password + "@api.example":            ": must not contain a user",
			"http://user:" + password + "@127.0.0.1":          ": must not contain a user",
			"https://user:" + password:                        ": must be a URL",
			"https://api.example?key=" + password:             ": must not contain a query",
			"https://api.example#" + password:                 ": must not contain a query or fragment",
			"https://user:" + password + "\n@api.example":     ": must be a URL",
			"https://api.example/%zz" + password:              ": must be a URL",
			"https://user:" + password + "/more@api.example":  ": must be a URL",
			"//user:" + password + "@api.example":             ": must be a URL",
			"https://user:" + password + "@api.example:65x":   ": must be a URL",
			"https://api.example/path?" + password + "=value": ": must not contain a query",
		} {
			t.Run(name+"="+url, func(t *testing.T) {
				env := []string{name + "=" + url, "LETHE_KV_ACCESS_KEY=" + echoedKey, "LETHE_SENSAY_ORGANIZATION_SECRET=" + echoedSecret}
				refused(t, bin, env, name+want, []string{password, echoedKey, echoedSecret}, "run")
			})
		}
	}
}

// Plain http is allowed for loopback, or with LETHE_ALLOW_HTTP.
func TestPlainHTTPMustBeAllowed(t *testing.T) {
	s := newLeakSearch(t)
	for _, env := range [][]string{
		{"LETHE_KV_BASE_URL=http://localhost:1", "LETHE_SENSAY_BASE_URL=http://[::1]:1"},
		{"LETHE_KV_BASE_URL=http://api.example", "LETHE_SENSAY_BASE_URL=http://192.0.2.1", "LETHE_ALLOW_HTTP=true"},
	} {
		w, _ := s.run(env...) // it fails if the worker exits
		s.until("the worker runs", func() bool { return strings.Contains(w.Tail(5), "worker started") })
		if err := w.End(teardown); err != nil {
			t.Errorf("%v: the worker ended with %v", env, err)
		}
		if err := os.Remove(w.Log); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACredentialForNATSIsNotShown(t *testing.T) {
	t.Parallel()
	const secret, other = "nats-Secret-that-must-not-leak", "a-wrong-Secret-for-this-server"
	bin := buildLethe(t)
	for name, tt := range map[string]struct {
		options server.Options
		user    func(secret string) string
	}{
		"a password": {server.Options{Username: "lethe", Password: secret}, func(s string) string { return "lethe:" + s }},
		"a token":    {server.Options{Authorization: secret}, func(s string) string { return s }},
	} {
		t.Run(name, func(t *testing.T) {
			options := tt.options
			options.Host, options.Port, options.NoLog, options.NoSigs = "127.0.0.1", -1, true, true
			options.JetStream, options.StoreDir = true, t.TempDir()
			ns, err := server.NewServer(&options)
			if err != nil {
				t.Fatal(err)
			}
			ns.Start()
			t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
			if !ns.ReadyForConnections(teardown) {
				t.Fatal("the server does not start")
			}
			address := ns.Addr().(*net.TCPAddr).String()
			b := &bench{T: t, server: ns}
			s := &leakSearch{bench: b, seen: &haystack{}, bin: bin, dir: t.TempDir()}
			url := func(secret string) string { return "LETHE_NATS_URL=nats://" + tt.user(secret) + "@" + address }

			for _, args := range [][]string{{"run"}, {"status"}, {"setup"}, {"results"}, {"failed", "list"}, {"request", "kv-user-context", "--id", "1"}} {
				refused(t, bin, []string{url(other)}, "LETHE_NATS_URL: NATS refused the credential at nats://"+address, []string{other, secret}, args...)
			}
			s.env = []string{url(secret)}
			w, admin := s.run("LETHE_LOG_FORMAT=text")
			s.until("the worker runs", func() bool { return strings.Contains(w.Tail(20), "worker started") })
			s.command("status", "--output", "json")
			s.command("status")
			s.command("setup")
			s.pages(admin)
			// The server stops, and the worker logs that it waits.
			ns.Shutdown()
			ns.WaitForShutdown()
			s.until("the worker waits", func() bool { return strings.Contains(w.Tail(20), "waiting for NATS") })
			s.pages(admin)
			s.command("status")
			if err := w.End(teardown); err != nil {
				t.Errorf("the worker ended with %v", err)
			}
			// Another worker starts without a server.
			w, admin = s.run("LETHE_LOG_FORMAT=json")
			s.until("the worker waits from its start", func() bool { return strings.Contains(w.Tail(1), `"waiting for NATS at nats://`+address) })
			s.pages(admin)
			if err := w.End(teardown); err != nil {
				t.Errorf("the worker ended with %v", err)
			}
			output, err := os.ReadFile(w.Log)
			if err != nil {
				t.Fatal(err)
			}
			s.seen.add("stderr", output)
			s.searched([]string{secret}, "stderr", "/readyz", "/metrics", "lethe status", "lethe status --output json", "lethe setup")
		})
	}
}
