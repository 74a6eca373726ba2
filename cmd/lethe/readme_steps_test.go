package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-dev/lethe/events"
)

// steps runs the README's four blocks: the first two keep running, the third needs
// their ports, and the fourth has its result after a moment. Then it runs the commands
// that the documents for publishers and subscribers show.
const steps = `
ip link set lo up || exit 77
port() { until (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null; do sleep 0.1; done; }
(eval "$SANDBOX") >&2 &
port 8081
(eval "$WORKER") >&2 &
port 8080
until exec 4<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&4 && grep -q '"ready":true' <&4; do sleep 0.1; done
eval "$PUBLISH"
until eval "$READ"; do sleep 0.1; done
echo "== the other documents =="
while read -r command; do
  until eval "$command" </dev/null; do sleep 0.1; done
done <<<"$OTHERS"
`

// It runs in a network of its own, where the README's ports are free.
func TestTheREADMEsStepsWorkLiterally(t *testing.T) {
	t.Parallel()
	unshare, err := exec.LookPath("unshare")
	if err != nil || exec.CommandContext(t.Context(), unshare, "-rn", "ip", "link", "set", "lo", "up").Run() != nil {
		t.Skip("this machine gives the test no network of its own (unshare -rn, ip)")
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	if len(blocks) != 4 {
		t.Fatalf("README.md has %d blocks to run, the test knows 4", len(blocks))
	}
	nats, err := exec.CommandContext(t.Context(), "go", "-C", "../../internal/e2e/natscli", "tool", "-n", "nats").Output()
	if err != nil {
		t.Fatalf("build the nats tool: %v", err)
	}
	tools := t.TempDir()
	if err := os.Symlink(strings.TrimSpace(string(nats)), tools+"/nats"); err != nil {
		t.Fatal(err)
	}

	var stdout, stderr bytes.Buffer
	run := exec.CommandContext(t.Context(), unshare, "-rn", "bash", "-c", steps)
	run.Dir, run.Stdout, run.Stderr = "../..", &stdout, &stderr
	run.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "HOME="+tools, "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOCACHE="+goEnv(t, "GOCACHE"),
		"LETHE_EMBEDDED_DIR="+t.TempDir(), "SANDBOX="+blocks[0][1], "WORKER="+blocks[1][1], "PUBLISH="+blocks[2][1], "READ="+blocks[3][1], "OTHERS="+shownCommands(t, "../../docs/publisher.md", "../../docs/subscriber.md"))
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stop := func() { _ = syscall.Kill(-run.Process.Pid, syscall.SIGKILL) } // what go run has started, too
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(2*time.Minute, stop)
	defer timer.Stop()
	state, err := run.Process.Wait()
	stop()
	_ = run.Wait() // for its output
	if err != nil || !state.Success() {
		t.Fatalf("%v %v\n%s\n%s", err, state, &stdout, &stderr)
	}

	out, others, _ := strings.Cut(stdout.String(), "== the other documents ==\n")
	if !strings.Contains(out, `"stream":"DELETION_REQUESTS"`) {
		t.Errorf("no acknowledgement:\n%s", out)
	}
	begin := strings.LastIndex(out, `{"specversion"`)
	if begin < 0 {
		t.Fatalf("no result:\n%s", out)
	}
	result, err := events.ReadResult(nil, []byte(strings.TrimSpace(out[begin:])))
	if err != nil || result.Outcome != events.Deleted || result.RequestID != "erasure-1" {
		t.Errorf("%+v, %v", result, err)
	}
	if !strings.Contains(others, `"request_id":"erasure-2"`) || !strings.Contains(others, `"request_id":"erasure-1"`) {
		t.Errorf("the publisher's or the subscriber's document shows no result:\n%s", others)
	}
	shown := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(readme(t))
	if shown == nil {
		t.Fatal("README.md shows no result")
	}
	if diff := cmp.Diff(withoutTexts(t, shown[1]), withoutTexts(t, out[begin:])); diff != "" {
		t.Errorf("README.md shows another event than the worker publishes (-shown +published):\n%s", diff)
	}
}

// shownCommands returns the commands of documents that need the nats tool alone, a line each.
func shownCommands(t *testing.T, documents ...string) string {
	t.Helper()
	var all []string
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`(?m)^    ((?:nats|sh) .*)$`).FindAllSubmatch(text, -1)
		if len(found) < 2 {
			t.Fatalf("%s shows %d commands", document, len(found))
		}
		for _, command := range found {
			all = append(all, string(command[1]))
		}
	}
	return strings.Join(all, "\n")
}

// withoutTexts returns an event with the value of each text, which differs from run to run, left out.
func withoutTexts(t *testing.T, event string) any {
	t.Helper()
	var all any
	if err := json.Unmarshal([]byte(event), &all); err != nil {
		t.Fatal(err)
	}
	var without func(any) any
	without = func(value any) any {
		switch v := value.(type) {
		case map[string]any:
			for name, member := range v {
				v[name] = without(member)
			}
		case string:
			return "text"
		}
		return value
	}
	return without(all)
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	value, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(value))
}
