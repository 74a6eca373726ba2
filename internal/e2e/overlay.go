package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Replacement changes one piece of a source file, so that a build breaks a rule
// without a switch for it in production code.
type Replacement struct {
	File string // path relative to the module root
	Old  string // text that the file contains exactly once
	New  string
}

// BuildBroken builds Lethe into dir with crash points and with these replacements
// (go build -overlay), and returns the binary's path. A replacement that does not
// match exactly once is an error: the code has changed, and the build would break nothing.
func BuildBroken(ctx context.Context, dir string, replacements ...Replacement) (string, error) {
	return BuildChanged(ctx, dir, "", replacements...)
}

// BuildChanged is [BuildBroken] with more source files: those below the folder added, which
// has the structure of the module. "" adds none.
func BuildChanged(ctx context.Context, dir, added string, replacements ...Replacement) (string, error) {
	root, err := ModuleDir(ctx)
	if err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	if err := statSources(ctx); err != nil {
		return "", err
	}
	if added != "" {
		if err := addFiles(overlay.Replace, root, added); err != nil {
			return "", err
		}
	}
	sources, err := Replaced(root, replacements...)
	if err != nil {
		return "", err
	}
	for path, source := range sources {
		broken := filepath.Join(dir, strconv.Itoa(len(overlay.Replace))+".go")
		if err := os.WriteFile(broken, []byte(source), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[path] = broken
	}
	file, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	overlayPath, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "broken")
	if err := os.WriteFile(overlayPath, file, 0o600); err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-tags", "failpoint", "-overlay", overlayPath, "-o", binary, "github.com/lethe-dev/lethe/cmd/lethe")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with %d replacements: %w: %s", len(replacements), err, bytes.TrimSpace(out))
	}
	return binary, nil
}

// addFiles adds the files below added to an overlay, at the same paths in the module.
func addFiles(replace map[string]string, root, added string) error {
	return filepath.WalkDir(added, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(added, path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err != nil { // as in statSources
			return err
		}
		replace[filepath.Join(root, name)], err = filepath.Abs(path)
		return err
	})
}

// Replaced returns the changed source files by their paths. root is the module's folder. A
// replacement that does not match exactly once is an error.
func Replaced(root string, replacements ...Replacement) (map[string]string, error) {
	sources := map[string]string{}
	for _, r := range replacements {
		path := filepath.Join(root, r.File)
		if _, read := sources[path]; !read {
			source, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			sources[path] = string(source)
		}
		if n := strings.Count(sources[path], r.Old); n != 1 {
			return nil, fmt.Errorf("%s contains %q %d times, want once", r.File, r.Old, n)
		}
		sources[path] = strings.Replace(sources[path], r.Old, r.New, 1)
	}
	return sources, nil
}

// ModuleDir returns the folder of the module.
func ModuleDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(string(bytes.TrimSpace(out))), nil
}
