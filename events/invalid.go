package events

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// InvalidError is a violation of the contract by an event. Its text is one printable
// line of at most 512 bytes.
type InvalidError struct {
	Code   Code
	Field  string // such as "id", "ce-id" or "data.ids[1]"; empty for the whole event
	Reason string
}

// Error returns the field, if there is one, and the reason.
func (e *InvalidError) Error() string {
	if e.Field == "" {
		return printable(e.Reason, 384)
	}
	return printable(e.Field, 120) + ": " + printable(e.Reason, 384)
}

func invalid(code Code, field, format string, args ...any) *InvalidError {
	return &InvalidError{
		Code:   code,
		Field:  printable(field, 120),
		Reason: printable(fmt.Sprintf(format, args...), 384),
	}
}

func malformed(field, format string, args ...any) *InvalidError {
	return invalid(CodeMalformedEvent, field, format, args...)
}

// quote formats a foreign value for an error: short, printable and in quotes.
func quote(value string) string { return `"` + printable(value, 48) + `"` }

// printable returns s as one line of at most limit bytes, with characters that cannot
// be printed replaced.
func printable(s string, limit int) string {
	if len(s) <= limit && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0 {
		return s // the usual case
	}
	const replacement, ellipsis = "\uFFFD", "…"
	// A replacement is never shorter than the original, so it reads at most limit bytes
	// of a huge value.
	var b strings.Builder
	for i, r := range s {
		shown := s[i : i+runeLen(s[i:])]
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			shown = replacement
		}
		rest := len(s) - i - runeLen(s[i:])
		if b.Len()+len(shown) > limit || rest > 0 && b.Len()+len(shown)+len(ellipsis) > limit {
			return b.String() + ellipsis
		}
		b.WriteString(shown)
	}
	return b.String()
}

func runeLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}
