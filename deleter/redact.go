package deleter

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// redacted stands wherever a credential would.
const redacted = "[redacted]"

// entities are the characters that HTML names.
var entities = map[byte]string{'"': "quot", '&': "amp", '\'': "apos", '<': "lt", '>': "gt"}

// echoes matches each of the secrets, in clear and as URLs, JSON and HTML write
// it, also partly or twice over, in letters of any case: an API may echo what it
// got in any of these.
func echoes(secrets []string) *regexp.Regexp {
	secrets = slices.Clone(secrets)
	// The longer one first, for a shorter one may be its beginning.
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var any strings.Builder
	for i, secret := range secrets {
		if i > 0 {
			any.WriteByte('|')
		}
		for _, c := range []byte(secret) {
			fmt.Fprintf(&any, `(?i:\\*%s|%%(?:25)*%02x|\\+(?:u00|x)%02x|&#0*%d;|&#x0*%x;`, regexp.QuoteMeta(string(rune(c))), c, c, c, c)
			if name := entities[c]; name != "" {
				any.WriteString("|&" + name + ";")
			}
			if c == ' ' {
				any.WriteString(`|\+`)
			}
			any.WriteByte(')')
		}
	}
	return regexp.MustCompile(any.String())
}

// Redact returns text without the secret, present or former, in clear or as
// URLs, JSON and HTML write it; and without any run of 12 of its bytes, written
// so too, or in base64 or hexadecimal.
func (c *Credential) Redact(text string) string {
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if known == nil { // no secret was ever read
		return text
	}
	return known.fragments.remove(known.echoes.ReplaceAllLiteralString(text, redacted))
}

// line makes text fit to be shown: without the credential, printable, one line,
// and at most MaxMessage bytes long.
func (c *Credential) line(text string) string {
	text = oneLine(c.Redact(text))
	// What was split over lines may have come together.
	return cut(c.Redact(text))
}

func oneLine(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

func cut(text string) string {
	if len(text) <= MaxMessage {
		return text
	}
	end := MaxMessage - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
