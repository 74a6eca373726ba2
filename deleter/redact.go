package deleter

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lethe-dev/lethe/internal/text"
)

// redacted replaces a credential, and a text that contains one.
const redacted = "[redacted]"

const (
	// fragmentLength is the length, in bytes, from which a part of a credential is found:
	// APIs quote a part of a wrong value, and cut their texts.
	fragmentLength = 12
	// minInWords is the length, in bytes, from which a secret is found inside words. A
	// shorter one is found only as a word of its own: otherwise a secret of one letter
	// would withhold nearly every text.
	minInWords = 4
	// minEncoded is the length, in bytes, from which an encoded part, or a part without
	// its blanks, is found: shorter ones occur in ordinary words.
	minEncoded = 8
	// maxUnescapes is the number of layers of escapes that are resolved.
	maxUnescapes = 3
	// maxSearched is how much of a text is searched, in bytes. The rest is not shown.
	maxSearched = 4 << 10
)

// patterns are the strings that reveal secrets in a text, in lower case.
type patterns struct {
	// byLength are runs of bytes by their length: in clear, and as base64 and
	// hexadecimal write them.
	byLength map[int]map[string]struct{}
	// alone are the secrets that are found only as words of their own.
	alone []string
}

func newPatterns(secrets []string) patterns {
	t := patterns{byLength: map[int]map[string]struct{}{}}
	for _, secret := range secrets {
		form := strings.ToLower(secret)
		if len(form) < minInWords {
			t.alone = append(t.alone, form)
			continue
		}
		t.runs(form, fragmentLength, min(len(form), minEncoded))
		t.runs(hex.EncodeToString([]byte(secret)), 2*fragmentLength, minEncoded)
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for before := range 3 {
				text := alphabet.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
				// Without the characters that contain bits of a neighbour.
				t.runs(strings.ToLower(text[(before*8+5)/6:(before+len(secret))*8/6]), fragmentLength*8/6, minEncoded)
			}
		}
	}
	return t
}

// runs adds the runs of text that have length, or all of a shorter text; each also
// as squeeze leaves it. None is shorter than least.
func (t patterns) runs(text string, length, least int) {
	length = min(length, len(text))
	for i := 0; i+length <= len(text); i++ {
		t.add(text[i:i+length], least)
		t.add(squeeze(text[i:i+length]), least)
	}
}

func (t patterns) add(run string, least int) {
	if len(run) < least || run == "" {
		return
	}
	if t.byLength[len(run)] == nil {
		t.byLength[len(run)] = map[string]struct{}{}
	}
	t.byLength[len(run)][run] = struct{}{}
}

// in reports whether text contains a secret, or a revealing part of one, in any
// spelling: under up to the given number of layers of escapes, in any order.
func (t patterns) in(text string, layers int) bool {
	text = strings.ToLower(text)
	if !strings.ContainsAny(text, escapeSigns) {
		return t.match(text) // as in most texts
	}
	texts, seen := []string{text}, map[string]bool{text: true}
	for ; ; layers-- {
		if slices.ContainsFunc(texts, t.match) {
			return true
		}
		if layers == 0 {
			return false
		}
		var plainer []string
		for _, text := range texts {
			for _, unescape := range unescapes {
				if plain := strings.ToLower(unescape(text)); !seen[plain] {
					seen[plain] = true
					plainer = append(plainer, plain)
				}
			}
		}
		texts = plainer
	}
}

// match reports whether text, in lower case, contains a secret without unescaping.
func (t patterns) match(text string) bool {
	return t.found(text) || t.found(squeeze(text)) || slices.ContainsFunc(t.alone, func(secret string) bool { return hasWholeWord(text, secret) })
}

func (t patterns) found(text string) bool {
	for length, runs := range t.byLength {
		for i := 0; i+length <= len(text); i++ {
			if _, ok := runs[text[i:i+length]]; ok {
				return true
			}
		}
	}
	return false
}

// hasWholeWord reports whether word is in text with no letter or digit beside it.
func hasWholeWord(text, word string) bool {
	for from := 0; ; from++ {
		at := strings.Index(text[from:], word)
		if at < 0 {
			return false
		}
		from += at
		before, _ := utf8.DecodeLastRuneInString(text[:from])
		after, _ := utf8.DecodeRuneInString(text[from+len(word):])
		if !isWord(before) && !isWord(after) {
			return true
		}
	}
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// squeeze leaves out what formats put between a text's characters: a backslash
// before a quote, a line's end, and a blank, which forms write as +.
func squeeze(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\\' || r == '+' || !unicode.IsPrint(r) || unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
}

// A byte as URLs, and as JSON and Go write it, in lower case; and a character after
// a backslash that means itself.
var (
	inURL    = regexp.MustCompile(`%[0-9a-f]{2}`)
	inString = regexp.MustCompile(`\\+(?:x|u00)[0-9a-f]{2}`)
	quoted   = regexp.MustCompile(`\\([\\/"'])`)
)

// escapeSigns begin the escapes of unescapes.
const escapeSigns = `%+\&`

// unescapes resolve one layer of the escapes of one format each.
var unescapes = []func(string) string{
	func(text string) string { return inURL.ReplaceAllStringFunc(text, hexByte) },
	func(text string) string { return strings.ReplaceAll(text, "+", " ") }, // in a form
	func(text string) string { return inString.ReplaceAllStringFunc(text, hexByte) },
	func(text string) string { return quoted.ReplaceAllString(text, "$1") },
	html.UnescapeString,
}

// hexByte is the byte whose two digits end an escape.
func hexByte(escape string) string {
	plain, err := hex.DecodeString(escape[len(escape)-2:])
	if err != nil {
		return escape
	}
	return string(plain)
}

// Redact returns text, or "[redacted]" if the text shows the secret, present or
// former: whole, or a run of 12 of its bytes; in clear, in letters of another case,
// as URLs, forms, JSON and HTML write it, or in base64 or hexadecimal. A secret of
// less than 4 bytes is found only as a word of its own.
func (c *Credential) Redact(text string) string {
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if known != nil && known.patterns.in(text, maxUnescapes) { // nil: no secret was ever read
		return redacted
	}
	return text
}

// Line makes a text from outside fit to be shown: one printable line of at most
// [MaxMessage] bytes, which is "[redacted]" where [Credential.Redact] is. Only the
// first 4 KiB of the text are read.
func Line(s string, credentials ...*Credential) string {
	s = text.Line(s[:min(len(s), maxSearched)], maxSearched)
	for _, c := range credentials {
		s = c.Redact(s)
	}
	return text.Line(s, MaxMessage)
}

func (c *Credential) line(s string) string { return Line(s, c) }
