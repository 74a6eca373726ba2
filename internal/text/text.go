// Package text fits the words of others into one line.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error returns what err says. A library puts its name before an error, and again
// before an error that wraps it; here it stands once.
func Error(err error) string {
	s := err.Error()
	for strings.Contains(s, "nats: nats: ") {
		s = strings.ReplaceAll(s, "nats: nats: ", "nats: ")
	}
	return s
}

const ellipsis = "…"

// Line returns s as one line of valid UTF-8: each run of white space and
// characters that cannot be printed becomes one blank. A longer line is cut
// between two characters, and ends with "…"; it is never over limit bytes, which
// must be at least 3.
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
