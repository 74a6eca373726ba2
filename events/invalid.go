package events

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// InvalidError says which rule of the contract an event breaks. Its text is one
// printable line of at most 512 bytes, whatever the event held.
type InvalidError struct {
	Code   Code
	Field  string // such as "id", "ce-id" or "data.ids[1]"; empty when the event as a whole is meant
	Reason string
}

// Error is the field, where there is one, and the reason.
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

// quote shows a value of somebody else's in an error: short, printable, in quotes.
func quote(value string) string { return `"` + printable(value, 48) + `"` }

// printable is s on one line with what cannot be printed replaced, cut to at most
// limit bytes.
func printable(s string, limit int) string {
	if len(s) <= limit && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0 {
		return s // as nearly everything is
	}
	const replacement, ellipsis = "\uFFFD", "…"
	// A replacement is longer than what it replaces, so reading limit bytes is
	// always enough, and reading no more keeps a huge value from costing anything.
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
