package deleter

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestJSONNeedsAJSONMediaType(t *testing.T) {
	for media, want := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, "Application/JSON": true,
		"application/problem+json": true, "application/vnd.api+json; x=y": true,
		"": false, "json": false, "text/json": false, "text/html": false, "image/x+json": false, "application/jsonx": false,
		"application/json+x": false, "application/x-json": false, "application/ json": false, "application/json, text/html": false,
	} {
		if got := isJSON(media); got != want {
			t.Errorf("%q: %v", media, got)
		}
	}
}

func TestCredentialLengthLimit(t *testing.T) {
	for length, ok := range map[int]bool{4096: true, 4097: false} {
		secret, file := strings.Repeat("k", length), t.TempDir()+"/key"
		if err := writeFile(file, secret+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := NewCredential(secret); (err == nil) != ok {
			t.Errorf("%d bytes: %v", length, err)
		}
		if _, err := CredentialFromFile(file); (err == nil) != ok {
			t.Errorf("%d bytes in a file: %v", length, err)
		}
	}
}

// The limit on the bytes read must not hide a second line.
func TestASecondLineAfterALongCredentialIsAnError(t *testing.T) {
	file := t.TempDir() + "/key"
	if err := writeFile(file, strings.Repeat("k", maxCredential)+"\r\nk"); err != nil {
		t.Fatal(err)
	}
	if _, err := CredentialFromFile(file); err == nil {
		t.Error("two lines are accepted as a credential")
	}
}

func TestBodyLengthLimit(t *testing.T) {
	for length, want := range map[int]Verdict{64 << 10: Deleted, 64<<10 + 1: Retry} {
		client := newTestClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat(" ", length)) }))
		if got := call(t, client); got.Verdict != want || got.MayHaveDeleted != (want == Retry) {
			t.Errorf("%d bytes: %+v", length, got)
		}
	}
}

// A suspended lane tries again when the version grows.
func TestAnUnchangedCredentialKeepsItsVersion(t *testing.T) {
	file := t.TempDir() + "/key"
	if err := writeFile(file, "first"); err != nil {
		t.Fatal(err)
	}
	c, err := CredentialFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string) {
		t.Helper()
		before := c.Version()
		for range 3 {
			if got := c.Version(); got != before {
				t.Errorf("%s: the version grew from %d to %d", what, before, got)
			}
		}
	}
	same("readable")
	if err := writeFile(file, ""); err != nil {
		t.Fatal(err)
	}
	same("unreadable")
	before := c.Version()
	if err := writeFile(file, "first"); err != nil {
		t.Fatal(err)
	}
	if c.Version() != before+1 {
		t.Errorf("readable again: %d after %d", c.Version(), before)
	}
	same("readable again")
}

func TestFormerCredentialsAreRedacted(t *testing.T) {
	var c Credential
	for i := range formerSecrets + 2 {
		c.learn(fmt.Sprintf("secret-number-%d", i))
	}
	for i := range formerSecrets + 2 {
		secret := fmt.Sprintf("secret-number-%d", i)
		if shown := strings.Contains(c.Redact("it is "+secret), secret); shown != (i == 0) && i > 0 {
			t.Errorf("%s is shown: %v", secret, shown)
		}
	}
	if n := len(c.known.secrets); n != 5 {
		t.Errorf("%d secrets are known", n)
	}
}

// A credential's file may be unreadable from the start.
func TestTextIsNotRedactedBeforeACredentialIsRead(t *testing.T) {
	c, err := CredentialFromFile(t.TempDir() + "/none")
	if err == nil {
		t.Fatal("a missing file is not an error")
	}
	if got := c.line("two\nwords"); got != "two words" {
		t.Errorf("%q", got)
	}
}
