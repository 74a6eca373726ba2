package deploy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// A user can build a release again from its tag and compare.
func TestTwoBuildsInTwoFoldersAreTheSame(t *testing.T) {
	t.Parallel()
	var binaries [][]byte
	for range 2 {
		dir := t.TempDir()
		sources := filepath.Join(dir, "sources")
		for _, name := range []string{"cmd", "consumer", "deleter", "events", "internal"} {
			if err := os.CopyFS(filepath.Join(sources, name), os.DirFS(filepath.Join("..", name))); err != nil {
				t.Fatal(err)
			}
		}
		write(t, filepath.Join(sources, "go.mod"), string(read(t, "../go.mod")))
		write(t, filepath.Join(sources, "go.sum"), string(read(t, "../go.sum")))
		out := filepath.Join(dir, "lethe")
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -X main.version=1.2.3 -X main.commit=abc", "-o", out, "./cmd/lethe")
		build.Dir = sources
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		binary := read(t, out)
		for _, place := range []string{dir, "/root/"} {
			if bytes.Contains(binary, []byte(place)) {
				t.Errorf("the binary names %s", place)
			}
		}
		binaries = append(binaries, binary)
	}
	if !bytes.Equal(binaries[0], binaries[1]) {
		t.Error("two builds of the same sources differ")
	}
}

// A tag of an action can be moved to other code, a commit cannot.
func TestWorkflowsUseActionsByTheirCommit(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	uses := regexp.MustCompile(`(?m)^\s*-?\s*uses: (.*)$`)
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for _, file := range files {
		text := read(t, file)
		for _, use := range uses.FindAllSubmatch(text, -1) {
			if !pinned.Match(use[1]) {
				t.Errorf("%s: %s", file, use[1])
			}
		}
		if !bytes.Contains(text, []byte("\npermissions:\n  contents: read\n")) {
			t.Errorf("%s: the default permissions are not read alone", file)
		}
		if !bytes.Contains(text, []byte("run: .ci/run\n")) {
			t.Errorf("%s does not run .ci/run", file)
		}
	}
}

// The release workflow refuses a tag that is not the newest version of the changelog.
func TestAReleaseIsNamedByTheChangelog(t *testing.T) {
	version := regexp.MustCompile(`(?m)^## \[(\d[^]]*)\]`).FindSubmatch(read(t, "../CHANGELOG.md"))
	if version == nil {
		t.Fatal("CHANGELOG.md names no version")
	}
	for file, names := range map[string][]string{
		"../README.md":          {"`ghcr.io/lethe-dev/lethe:%s`"},
		"helm/lethe/Chart.yaml": {"\nversion: %s\n", "\nappVersion: %s\n"},
		"helm/lethe/README.md":  {"lethe --version %s "},
	} {
		for _, name := range names {
			if want := fmt.Sprintf(name, version[1]); !bytes.Contains(read(t, file), []byte(want)) {
				t.Errorf("%s: want %q", file, want)
			}
		}
	}
}

func TestTheChartIsReleasedWithTheHelmOfItsTests(t *testing.T) {
	helm := regexp.MustCompile(`(?m)^\t(helm\.sh/helm/v\d+) (v\S+)$`).FindSubmatch(read(t, "helm/go.mod"))
	if helm == nil {
		t.Fatal("deploy/helm/go.mod does not require Helm")
	}
	want := fmt.Sprintf("go install %s/cmd/helm@%s\n", helm[1], helm[2])
	if !bytes.Contains(read(t, "../.github/workflows/release.yml"), []byte(want)) {
		t.Errorf("release.yml: want %q", want)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
