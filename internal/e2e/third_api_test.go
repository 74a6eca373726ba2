package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A third API needs a new file in each of three packages, and one line with its import in the
// table of APIs. Nothing else changes.
func TestAThirdAPIIsThreeFilesAndALineInTheTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lethe, err := BuildChanged(t.Context(), dir, "testdata/toy",
		Replacement{
			File: "cmd/lethe/apis.go",
			Old:  "	return []api{\n",
			New:  "	return []api{\n		{target: events.ToyNote, name: \"TOY\", deleter: toy.New},\n",
		},
		Replacement{
			File: "cmd/lethe/apis.go",
			Old:  "	\"github.com/lethe-dev/lethe/deleter/sensay\"\n",
			New:  "	\"github.com/lethe-dev/lethe/deleter/sensay\"\n	\"github.com/lethe-dev/lethe/deleter/toy\"\n",
		},
	)
	if err != nil {
		t.Fatal(err)
	}

	server, err := StartServer(ServerConfig{Dir: filepath.Join(dir, "nats")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.WaitForShutdown()
	defer server.Shutdown()
	address, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"LETHE_NATS_URL=" + server.ClientURL(), "LETHE_TOY_BASE_URL=http://" + address, "LETHE_TOY_CREDENTIAL=sandbox-toy-key", "LETHE_ADMIN_ADDR=127.0.0.1:0"}
	for _, p := range []*Process{
		{Name: "sandbox", Path: lethe, Args: []string{"sandbox", "--addr", address}, Log: filepath.Join(dir, "sandbox.log")},
		{Name: "worker", Path: lethe, Args: []string{"run"}, Env: env, Log: filepath.Join(dir, "worker.log")},
	} {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := p.End(patience); err != nil || t.Failed() {
				t.Logf("%s: %v\n%s", p.Name, err, p.Tail(10))
			}
		}()
	}
	if err := WaitListening(t.Context(), address); err != nil {
		t.Fatal(err)
	}

	command := func(args ...string) string {
		c := exec.CommandContext(t.Context(), lethe, args...)
		c.Env = append(os.Environ(), env...)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("lethe %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	command("setup")
	if out := command("request", "toy-note", "--id", "7", "--wait", "--timeout", "30s"); !strings.Contains(out, "deleted") {
		t.Errorf("lethe request printed %q", out)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/_sandbox/deleted", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body := new(strings.Builder)
	if err := response.Write(body); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(body.String(), `"entry":"toy/7"`) {
		t.Errorf("the fake API answers %s", body)
	}
}
