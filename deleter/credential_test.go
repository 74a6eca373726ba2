package deleter

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeFile writes a file with a later modification time than the last one, even within
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

// A credential may be printed by mistake: with any verb or encoder, in an error, in any
// struct, or by a panic.
func TestACredentialIsNeverPrinted(t *testing.T) {
	const hush = "hush-hush-hush"
	c, err := NewCredential(hush)
	if err != nil {
		t.Fatal(err)
	}
	client := NewClient(ClientConfig{BaseURL: &url.URL{}, Credential: c})
	type hidden struct{ c *Credential }
	shown := c.String() + c.GoString()
	for _, value := range []any{
		c, []*Credential{c}, map[string]any{"c": c}, map[*Credential]int{c: 1}, struct{ C *Credential }{c},
		hidden{c}, &hidden{c}, []hidden{{c}}, client, *client, client.transport,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "% x", "%z"} {
			shown += fmt.Sprintf(verb, value) + fmt.Errorf("wrong: "+verb, value).Error()
		}
		encoded, _ := json.Marshal(value) // it fails for a client, which has functions
		var log strings.Builder
		for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			slog.New(handler).With("with", value).Info("m", "value", value, slog.Group("in", "value", value))
		}
		func() {
			defer func() { shown += fmt.Sprint(recover()) }()
			panic(value)
		}()
		shown += string(encoded) + log.String()
	}
	for _, spelling := range []string{"hush", fmt.Sprintf("%x", "hush"), fmt.Sprintf("% x", "hush"), fmt.Sprint([]byte("hush"))[1:15], `\x68`} {
		if strings.Contains(strings.ToLower(shown), spelling) {
			t.Errorf("%q is shown in %s", spelling, shown)
		}
	}
	if got, err := c.Reveal(); got != hush || err != nil {
		t.Errorf("Reveal returned %q, %v", got, err)
	}
}

func TestAChangedCredentialFileIsReadAgain(t *testing.T) {
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
			t.Errorf("%s has the version of the previous credential", want)
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

// A rotated secret often has the length of the former one, and is written over it.
func TestACredentialFileThatIsOverwrittenIsRead(t *testing.T) {
	at := time.Now().Truncate(time.Second)
	for name, c := range map[string]struct {
		secret string
		at     time.Time
	}{
		"with a secret of the same length":               {"secret-2", at.Add(time.Second)},
		"with a secret of the same length, an older one": {"secret-2", at.Add(-time.Second)},
		"with a longer secret at the same time":          {"secret-22", at},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			overwrite := func(secret string, at time.Time) {
				if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(file, at, at); err != nil {
					t.Fatal(err)
				}
			}
			overwrite("secret-1", at)
			credential, err := CredentialFromFile(file)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(c.secret, c.at)
			if got, err := credential.Reveal(); got != c.secret || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// The new file has the size and the modification time of the old one, as a restored copy may have.
func TestAReplacedCredentialFileIsRead(t *testing.T) {
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

func TestInvalidCredentials(t *testing.T) {
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
