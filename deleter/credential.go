package deleter

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/net/http/httpguts"
)

// maxCredential bounds the file of a credential, in bytes.
const maxCredential = 16 << 10

// redacted stands wherever a credential would.
const redacted = "[redacted]"

// Credential is a secret that goes into a header. Printing it in any way gives
// "[redacted]". It is safe for concurrent use.
type Credential struct {
	file string // "" for a fixed value

	mu      sync.Mutex
	secrets []string // the current one last; former ones may still be echoed
	size    int64
	changed time.Time
}

// formerSecrets is how many replaced values are still redacted.
const formerSecrets = 4

// NewCredential returns the credential with this value. Its error says what is
// wrong with the value, without showing it.
func NewCredential(value string) (*Credential, error) {
	if err := checkSecret(value); err != nil {
		return nil, err
	}
	return &Credential{secrets: []string{value}}, nil
}

// CredentialFromFile returns the credential that stands in a file, without the
// newline at its end. The file is read again when its size or time changes.
func CredentialFromFile(path string) (*Credential, error) {
	c := &Credential{file: path}
	_, err := c.Reveal()
	return c, err
}

// Reveal returns the secret. It fails if the file cannot be read, or holds none.
func (c *Credential) Reveal() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == "" {
		return c.secrets[len(c.secrets)-1], nil
	}
	info, err := os.Stat(c.file)
	if err != nil {
		return "", fmt.Errorf("read the credential: %w", err)
	}
	if len(c.secrets) > 0 && info.Size() == c.size && info.ModTime().Equal(c.changed) {
		return c.secrets[len(c.secrets)-1], nil
	}
	if info.Size() > maxCredential {
		return "", fmt.Errorf("the credential's file %s is over %d bytes", c.file, maxCredential)
	}
	content, err := os.ReadFile(c.file)
	if err != nil {
		return "", fmt.Errorf("read the credential: %w", err)
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if err := checkSecret(secret); err != nil {
		return "", fmt.Errorf("the credential's file %s: %w", c.file, err)
	}
	c.size, c.changed = info.Size(), info.ModTime()
	if !slices.Contains(c.secrets, secret) || c.secrets[len(c.secrets)-1] != secret {
		c.secrets = append(c.secrets, secret)
		c.secrets = c.secrets[max(0, len(c.secrets)-formerSecrets-1):]
	}
	return secret, nil
}

// Version tells one state of the credential's file from another, without its
// content. It is the same for ever where there is no file.
func (c *Credential) Version() string {
	if c.file == "" {
		return ""
	}
	info, err := os.Stat(c.file)
	if err != nil {
		return "unreadable"
	}
	return fmt.Sprintf("%d bytes of %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
}

// Redact returns text without the secret, present or former, in clear or as URLs
// and JSON write it.
func (c *Credential) Redact(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range c.secrets {
		for _, form := range forms(secret) {
			text = strings.ReplaceAll(text, form, redacted)
		}
	}
	return text
}

func forms(secret string) []string {
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	// As Canonicalize leaves it, and as encoding/json writes it.
	if quoted, err := jsontext.AppendQuote(nil, secret); err == nil {
		all = append(all, string(quoted[1:len(quoted)-1]))
	}
	if quoted, err := json.Marshal(secret); err == nil {
		all = append(all, string(quoted[1:len(quoted)-1]))
	}
	return all
}

func checkSecret(value string) error {
	switch {
	case value == "":
		return errors.New("is empty")
	case strings.TrimSpace(value) != value || !httpguts.ValidHeaderFieldValue(value):
		return errors.New("has characters that cannot stand in a header")
	}
	return nil
}

// String gives "[redacted]", as do GoString, MarshalText, LogValue and Format.
func (c *Credential) String() string { return redacted }

// GoString keeps the secret out of %#v.
func (c *Credential) GoString() string { return redacted }

// MarshalText keeps the secret out of JSON and other encodings.
func (c *Credential) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue keeps the secret out of logs.
func (c *Credential) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format keeps the secret out of every verb of fmt.
func (c *Credential) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }
