// Package text formats foreign text and errors as one line.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error returns the text of err. nats.go prefixes its errors with its name, also an
// error that wraps another one of its own; Error removes repeated prefixes.
func Error(err error) string {
	s := err.Error()
	for strings.Contains(s, "nats: nats: ") {
		s = strings.ReplaceAll(s, "nats: nats: ", "nats: ")
	}
	return s
}

const ellipsis = "…"

// Line returns s as one line of valid UTF-8 of at most limit bytes, which must be at
// least 3. Each run of white space and characters that cannot be printed becomes one
// space. A longer line is cut between two characters and ends with "…".
func Line(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= limit {
		return s
	}
	end := limit - len(ellipsis)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
