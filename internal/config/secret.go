package config

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const redacted = "[redacted]"

// Secret is a value that must not be seen: however it is printed, logged or encoded, it reads "[redacted]", or
// nothing when it is not set.
type Secret struct {
	// A pointer, because fmt looks into unexported fields of other structs without calling any method, and shows no
	// more of a pointer there than its address.
	value *string
}

// NewSecret wraps value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

// Decode takes the value without line ends behind it, as a file's is taken: tools that read secrets from files leave
// them. envconfig calls it.
func (s *Secret) Decode(value string) error {
	*s = NewSecret(strings.TrimRight(value, "\r\n"))
	return nil
}

// Reveal gives the value itself, "" when it is not set.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String never gives the value.
func (s Secret) String() string {
	if s.value == nil {
		return ""
	}
	return redacted
}

// GoString never gives the value.
func (s Secret) GoString() string { return s.String() }

// Format keeps verbs that look inside structs, such as %d and %x, from the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText never gives the value. JSON uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue never gives the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
