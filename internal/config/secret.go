package config

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const redacted = "[redacted]"

// Secret is a value that is never printed, logged or encoded: its text is "[redacted]", or empty if it is not set.
type Secret struct {
	// A pointer, because fmt prints unexported fields of other structs without calling methods, and of a pointer it
	// prints only the address.
	value *string
}

// NewSecret wraps value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

// Decode removes line ends after the value, which tools that read secrets from files leave there. envconfig calls it.
func (s *Secret) Decode(value string) error {
	*s = NewSecret(strings.TrimRight(value, "\r\n"))
	return nil
}

// Reveal returns the value, "" if it is not set.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String never returns the value.
func (s Secret) String() string {
	if s.value == nil {
		return ""
	}
	return redacted
}

// GoString never returns the value.
func (s Secret) GoString() string { return s.String() }

// Format hides the value from verbs that print the fields of structs, such as %d and %x.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText never returns the value. JSON uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue never returns the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
