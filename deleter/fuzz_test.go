package deleter

import (
	"encoding/json"
	"html"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// No text that is shown contains the credential, however an API escapes it and whatever
// it writes around it.
func FuzzRedact(f *testing.F) {
	f.Add("s3cret-of-the-house", "before", "after")
	f.Add(`q"&<'>/\ %`, "%25", "&quot;")
	f.Add("aaaaaaaa", "aaa", "aaaaaaaaaaaaaaa")
	f.Add("key-12345", "key-", "\r\n\x00")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		c, err := NewCredential(secret)
		if err != nil {
			return
		}
		has := strings.Contains
		if len(secret) < minInWords { // it is found only as a word of its own
			has, before, after = hasWholeWord, before+" ", " "+after
		}
		inJSON, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		for name, written := range map[string]string{
			"in clear": secret, "in a query": url.QueryEscape(secret), "in a path": url.PathEscape(secret),
			"in HTML": html.EscapeString(secret), "in JSON": strings.Trim(string(inJSON), `"`),
		} {
			shown := c.line(before + written + after)
			if !utf8.ValidString(shown) || len(shown) > MaxMessage || strings.ContainsAny(shown, "\r\n\x00") {
				t.Errorf("%s: %q is not one short printable line", name, shown)
			}
			// The replacement itself may contain a short secret.
			if rest := strings.ReplaceAll(shown, redacted, "\x00"); utf8.ValidString(written) && has(rest, secret) && !strings.Contains(redacted, secret) {
				t.Errorf("%s: %q shows %q", name, shown, secret)
			}
			if again := c.Redact(shown); strings.Contains(shown, redacted) && strings.Count(again, redacted) < strings.Count(shown, redacted) {
				t.Errorf("%s: redacting again makes %q of %q", name, again, shown)
			}
		}
	})
}
