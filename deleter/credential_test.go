package deleter

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeFile writes and moves the time on, as a rotation does that is not within
// one tick of the file system's clock.
func writeFile(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	written++
	at := time.Now().Add(time.Duration(written) * time.Second)
	return os.Chtimes(path, at, at)
}

var written int

func TestACredentialShowsInNoText(t *testing.T) {
	c, err := NewCredential("hush-hush")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "credential", c)
	encoded, err := json.Marshal(map[string]any{"c": c})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q %x %d", c, c, c, c, c, c, c),
		fmt.Sprintf("%+v", struct{ C *Credential }{c}), log.String(), string(encoded), c.String(), c.GoString(),
	} {
		if strings.Contains(text, "hush") || strings.Contains(text, fmt.Sprintf("%x", "hush")) {
			t.Errorf("shown in %s", text)
		}
	}
}

func TestACredentialsFileIsReadAgainWhenItChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := writeFile(file, "first\n"); err != nil {
		t.Fatal(err)
	}
	c, err := CredentialFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	version := c.Version()
	for _, want := range []string{"secnd", "third-one", "first"} {
		if err := writeFile(file, want+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if got := c.Version(); got == version {
			t.Errorf("the version of %s is that of the one before", want)
		} else {
			version = got
		}
		if got, err := c.Reveal(); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if got := c.Redact("was secnd, then third-one, now first"); strings.ContainsAny(strings.ReplaceAll(got, redacted, ""), "13") ||
		strings.Contains(got, "secnd") || strings.Contains(got, "first") {
		t.Errorf("former values are shown: %s", got)
	}
}

// Of the same size and time, but another file, as a restored copy may be.
func TestAnotherFileInTheSamePlaceIsRead(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "key"), filepath.Join(dir, "other")
	at := time.Now().Truncate(time.Second)
	for path, content := range map[string]string{file: "secret-1", other: "secret-2"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	c, err := CredentialFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, file); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Reveal(); got != "secret-2" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWhatIsNoCredential(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, path := range map[string]string{
		"a missing file": filepath.Join(dir, "none"), "an empty file": file("empty", "\n"), "a directory": dir,
		"two lines": file("lines", "hush\nhush"), "a large file": file("large", strings.Repeat("hush", maxCredential)),
	} {
		_, err := CredentialFromFile(path)
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, value := range []string{"", " hush", "hu\nsh", "hu\x00sh", "hu\u00e9", strings.Repeat("hu", maxCredential)} {
		if _, err := NewCredential(value); err == nil || strings.Contains(err.Error(), "hu") {
			t.Errorf("%q: %v", value, err)
		}
	}
}
