// Package docs tests the documents: their links lead somewhere, and their examples are valid events.
package docs

import (
	"bytes"
	"encoding/json"
	"os"
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

// cmd/lethe compares the one in README.md with what a worker publishes.
func TestTheArchitectureNamesFunctionsOfTheConsumer(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(documents(t)["../docs/architecture.md"], "| step | functions |")
	table, _, _ = strings.Cut(table, "\n\n")
	var code strings.Builder
	files, err := filepath.Glob("../consumer/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(content)
	}
	names := regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(table, -1)
	if len(names) < 7 {
		t.Fatalf("%d functions are named, want at least one for each of the 7 steps", len(names))
	}
	for _, name := range names {
		if !strings.Contains(code.String(), "func (l *Lane) "+name[1]+"(") {
			t.Errorf("architecture.md names %s, which is no method of Lane", name[1])
		}
	}
}

func TestBothDocumentsShowTheSameResult(t *testing.T) {
	block := regexp.MustCompile("(?s)```json\n.*?```")
	all := documents(t)
	if readme, subscriber := block.FindString(all["../README.md"]), block.FindString(all["../docs/subscriber.md"]); readme == "" || readme != subscriber {
		t.Errorf("README.md shows\n%s\nsubscriber.md shows\n%s", readme, subscriber)
	}
}
