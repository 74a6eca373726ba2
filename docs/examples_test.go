package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lethe-dev/lethe/events"
)

// readRequest reads an event as the worker does.
func readRequest(t *testing.T, header map[string][]string, body []byte) {
	t.Helper()
	got, err := events.ReadRequest(events.KVUserContext, header, body)
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	want, err := events.NewResource(events.KVUserContext, events.ResourceFields{IDs: []int64{10, 11}})
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != "erasure-1" || events.Fingerprint(got.Resource) != events.Fingerprint(want) {
		t.Errorf("%+v", got)
	}
}

func TestTheShellExamplePublishesAValidRequest(t *testing.T) {
	dir := t.TempDir()
	// A tool of the same name records its arguments, and answers as the server does.
	tool := `#!/bin/sh
for last; do :; done
printf %s "$last" >` + dir + `/body
printf '%s\n' "$@" >` + dir + `/arguments
echo "$ANSWER"
`
	if err := os.WriteFile(filepath.Join(dir, "nats"), []byte(tool), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	run := func(answer string) ([]byte, error) {
		script := exec.CommandContext(t.Context(), "sh", "examples/publish.sh", "erasure-1", "10,11")
		script.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "ANSWER="+answer)
		return script.CombinedOutput()
	}
	if out, err := run(`{"stream":"DELETION_REQUESTS","seq":1}`); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	body, err := os.ReadFile(filepath.Join(dir, "body"))
	if err != nil {
		t.Fatal(err)
	}
	readRequest(t, nil, body)
	arguments, err := os.ReadFile(filepath.Join(dir, "arguments"))
	if err != nil || !bytes.Contains(arguments, []byte("\nNats-Msg-Id:erasure-1\n")) {
		t.Errorf("%v\n%s", err, arguments)
	}
	for _, answer := range []string{`{"error":{"code":503,"description":"maximum bytes exceeded"}}`, ""} {
		if _, err := run(answer); err == nil {
			t.Errorf("it succeeds without an acknowledgement: %q", answer)
		}
	}
}

// python runs a Python program beside the example, with a stand-in for nats-py that answers with what the variables hold.
func python(t *testing.T, variables []string, arguments ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	standIn, err := filepath.Abs("testdata/python")
	if err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), path, arguments...)
	program.Dir = "examples"
	program.Env = append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+standIn, "NATS_URL=nats://nats.example:4222"), variables...)
	output, err := program.CombinedOutput()
	return string(output), err
}

func TestThePythonExamplePublishesAValidRequest(t *testing.T) {
	body, err := python(t, nil, "-c", "import json, publish; print(json.dumps(publish.deletion_request('erasure-1', [10, 11])))")
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	readRequest(t, nil, []byte(body))
}

func TestThePythonExampleWaitsForItsOwnFinalResult(t *testing.T) {
	const (
		pending = `{"outcome": "accepted-pending", "final": false, "ids": [11, 10]}`
		deleted = `{"outcome": "deleted", "final": true, "ids": [11, 10]}`
		others  = `{"outcome": "deleted", "final": true, "ids": [99]}`
		invalid = `{"outcome": "invalid", "final": true, "error": {"code": "id-reused"}}`
	)
	for name, c := range map[string]struct {
		id, results string
		fails       bool
		says        string
	}{
		"deleted":                    {"erasure-1", deleted, false, "deleted"},
		"accepted, then deleted":     {"erasure-1", pending + "," + deleted, false, "accepted-pending \ndeleted"},
		"invalid":                    {"erasure-1", invalid, false, "id-reused"},
		"the id names another":       {"erasure-1", others, true, "choose a new id"},
		"no result":                  {"erasure-1", "", true, "the request is stored"},
		"no final result":            {"erasure-1", pending, true, "the request is stored"},
		"an id with a dot":           {"erasure.1", deleted, true, "publish.py REQUEST-ID"},
		"an id that matches others'": {"*", deleted, true, "publish.py REQUEST-ID"},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := python(t, []string{"RESULTS=[" + c.results + "]"}, "publish.py", c.id, "10,11")
			if (err != nil) != c.fails || !strings.Contains(output, c.says) || strings.Contains(output, "Traceback") {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}
