// Package docs tests the documents: their links lead somewhere, and their examples are valid events.
package docs

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lethe-dev/lethe/events"
)

// documents are all Markdown files of the project, by their path from its root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			text, err := os.ReadFile(path)
			all[path] = string(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found %d documents", len(all))
	}
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notSlug = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	return strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := documents(t)
	for path, text := range all {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target, fragment, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s does not exist", path, found[1])
				continue
			}
			if fragment == "" {
				continue
			}
			anchors := map[string]bool{}
			for _, h := range heading.FindAllStringSubmatch(all[to], -1) {
				anchors[anchor(h[1])] = true
			}
			if !anchors[fragment] {
				t.Errorf("%s: %s has no heading for #%s", path, target, fragment)
			}
		}
	}
}

func TestEveryDocumentIsInTheIndex(t *testing.T) {
	index, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("*.md")
	if err != nil || len(pages) < 8 {
		t.Fatal(pages, err)
	}
	for _, page := range pages {
		if page != "README.md" && !bytes.Contains(index, []byte("("+page+")")) {
			t.Errorf("%s is not in README.md", page)
		}
	}
}

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

func TestThePythonExamplePublishesAValidRequest(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	event := exec.CommandContext(t.Context(), python, "-c",
		"import json, publish; print(json.dumps(publish.deletion_request('erasure-1', [10, 11])))")
	event.Dir = "examples"
	event.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	body, err := event.Output()
	if err != nil {
		t.Fatal(err)
	}
	readRequest(t, nil, body)
}

// An event in a document is valid, and a reader can copy it.
func TestEventsInDocumentsAreValid(t *testing.T) {
	block := regexp.MustCompile("(?s)```json\n(.*?)```")
	found := 0
	for path, text := range documents(t) {
		for _, b := range block.FindAllStringSubmatch(text, -1) {
			var kind struct{ Type string }
			if err := json.Unmarshal([]byte(b[1]), &kind); err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			switch {
			case kind.Type == "lethe.deletion.requested.v1":
				readRequest(t, nil, []byte(b[1]))
			case strings.HasPrefix(kind.Type, "lethe.deletion."):
				if _, err := events.ReadResult(nil, []byte(b[1])); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			default:
				continue
			}
			found++
		}
	}
	if found == 0 {
		t.Error("no document shows an event")
	}
}
