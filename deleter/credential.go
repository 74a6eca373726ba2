package deleter

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/net/http/httpguts"
)

// maxCredential bounds a credential, in bytes.
const maxCredential = 4 << 10

// Credential is a secret that goes into a header. Printing it in any way gives
// "[redacted]". It is safe for concurrent use.
type Credential struct {
	file string // "" for a fixed value

	mu    sync.Mutex
	known *knownSecrets // nil before there is a secret
	read  os.FileInfo   // the file as it was when it was read

	version    int
	unreadable bool // the last read of the file failed
}

// knownSecrets are the secrets of a credential, and their patterns. They are
// behind a pointer of their own, because fmt prints unexported fields
// without calling any method, and through one pointer if the verb is wrong.
type knownSecrets struct {
	secrets  []string // the current one last; former ones may still be echoed
	patterns patterns // of all of them
}

// current is the secret to send.
func (k *knownSecrets) current() string { return k.secrets[len(k.secrets)-1] }

// formerSecrets is how many replaced values are still redacted.
const formerSecrets = 4

// NewCredential returns the credential with this value. Its error says what is
// wrong with the value, without showing it.
func NewCredential(value string) (*Credential, error) {
	if err := checkSecret(value); err != nil {
		return nil, err
	}
	c := &Credential{}
	c.learn(value)
	return c, nil
}

// CredentialFromFile returns the credential that a file holds, without the newline
// at its end. It reads the file again after the file was replaced, or its size or
// modification time changed.
func CredentialFromFile(path string) (*Credential, error) {
	c := &Credential{file: path}
	_, err := c.Reveal()
	return c, err
}

// Reveal returns the secret. It fails if the file cannot be read, or holds none.
func (c *Credential) Reveal() (string, error) {
	secret, _, err := c.revealVersion()
	return secret, err
}

// revealVersion is Reveal, with the version of what it returns.
func (c *Credential) revealVersion() (secret string, version int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	secret, err = c.reveal()
	if err == nil && c.unreadable {
		c.version++
	}
	c.unreadable = err != nil
	return secret, c.version, err
}

func (c *Credential) reveal() (string, error) {
	if c.file == "" {
		return c.known.current(), nil
	}
	info, err := os.Stat(c.file)
	if err != nil {
		return "", fmt.Errorf("read the credential: %w", err)
	}
	if c.read != nil && os.SameFile(info, c.read) && info.Size() == c.read.Size() && info.ModTime().Equal(c.read.ModTime()) {
		return c.known.current(), nil
	}
	content, err := readSome(c.file)
	if err != nil {
		return "", fmt.Errorf("read the credential: %w", err)
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if err := checkSecret(secret); err != nil {
		return "", fmt.Errorf("the credential's file %s %w", c.file, err)
	}
	c.read = info
	c.learn(secret)
	return secret, nil
}

// readSome reads no more of a file than shows that it is too large.
func readSome(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(io.LimitReader(file, maxCredential+int64(len("\r\n"))+1))
}

// learn makes secret the current secret.
func (c *Credential) learn(secret string) {
	var secrets []string
	if c.known != nil {
		if c.known.current() == secret {
			return
		}
		secrets = slices.Clone(c.known.secrets)
	}
	secrets = append(secrets, secret)
	secrets = secrets[max(0, len(secrets)-formerSecrets-1):]
	c.known = &knownSecrets{secrets, newPatterns(secrets)}
	c.version++
}

// Version grows when the secret changes, and when the file becomes readable again.
// It never changes where there is no file.
func (c *Credential) Version() int {
	_, _ = c.Reveal() // the next call reports the error
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// checkSecret allows what a new header field's value may be, which is ASCII
// (RFC 9110, section 5.5).
func checkSecret(value string) error {
	foreign := func(r rune) bool { return r > unicode.MaxASCII }
	switch {
	case value == "":
		return errors.New("is empty")
	case len(value) > maxCredential:
		return fmt.Errorf("is over %d bytes", maxCredential)
	case strings.TrimSpace(value) != value || !httpguts.ValidHeaderFieldValue(value) || strings.ContainsFunc(value, foreign):
		return errors.New("has characters that are not allowed in a header")
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
