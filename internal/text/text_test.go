package text_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/lethe-dev/lethe/internal/text"
)

func TestALineIsPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"":                              "",
		"as it is":                      "as it is",
		" two\r\n\twords ":              "two words",
		"a \x00\x1b[31mred\x7f word":    "a [31mred word",
		"broken \xff\xfe UTF-8":         "broken \uFFFD UTF-8",
		"right to left \u202e and back": "right to left and back",
		"é € 𝄞":                         "é € 𝄞",
	} {
		if got := text.Line(s, 100); got != want {
			t.Errorf("%q became %q, want %q", s, got, want)
		}
	}
}

func TestALongLineIsCutBetweenCharacters(t *testing.T) {
	const limit = 50
	for _, letter := range []string{"a", "é", "€", "𝄞"} {
		for offset := range 5 {
			got := text.Line(strings.Repeat("x", offset)+strings.Repeat(letter, limit+1), limit)
			if !utf8.ValidString(got) || len(got) > limit || len(got) < limit-len("…") || !strings.HasSuffix(got, letter+"…") {
				t.Errorf("%s at %d: %d bytes, %q", letter, offset, len(got), got)
			}
		}
	}
	if got := text.Line(strings.Repeat("x", limit), limit); got != strings.Repeat("x", limit) {
		t.Errorf("a line that fits became %q", got)
	}
}

func TestLineIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(3, 40).Draw(t, "limit")
		got := text.Line(rapid.String().Draw(t, "text"), limit)
		if len(got) > limit || !utf8.ValidString(got) || text.Line(got, limit) != got {
			t.Errorf("%q", got)
		}
	})
}

func TestErrorRemovesRepeatedPrefixes(t *testing.T) {
	for said, want := range map[string]string{
		"nats: timeout":                     "nats: timeout",
		"look: nats: nats: API error":       "look: nats: API error",
		"nats: nats: nats: timeout":         "nats: timeout",
		"nats: no responders, nats: closed": "nats: no responders, nats: closed",
	} {
		if got := text.Error(errors.New(said)); got != want {
			t.Errorf("%q became %q, want %q", said, got, want)
		}
	}
}
