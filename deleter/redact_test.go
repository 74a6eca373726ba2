package deleter

import (
	"encoding/json"
	"html"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestRedactFindsEverySpelling(t *testing.T) {
	c, err := NewCredential(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	inner, _ := json.Marshal(testSecret)
	twice, _ := json.Marshal(string(inner))
	for name, text := range map[string]string{
		"in clear":                      testSecret,
		"in a query":                    url.QueryEscape(testSecret),
		"in a path":                     url.PathEscape(testSecret),
		"in a query, in small letters":  strings.ToLower(url.QueryEscape(testSecret)),
		"in a query, twice":             url.QueryEscape(url.QueryEscape(testSecret)),
		"in JSON, by Go":                string(inner),
		"in JSON, by others":            `s3cret\"with/odd&parts`,
		"in JSON, with escaped slashes": `s3cret\"with\/odd&parts`,
		"in JSON, all escaped":          `\u0073\u0033\u0063\u0072\u0065\u0074\u0022\u0077\u0069\u0074\u0068\u002F\u006f\u0064\u0064\u0026\u0070\u0061\u0072\u0074\u0073`,
		"in JSON in JSON":               string(twice),
		"in HTML":                       html.EscapeString(testSecret),
		"over two lines":                testSecret[:9] + "\r\n\t" + testSecret[9:],
		"over three lines":              testSecret[:7] + "\r\n\t" + testSecret[7:14] + "\n" + testSecret[14:],
		"with blanks in it":             testSecret[:7] + " " + testSecret[7:14] + "  " + testSecret[14:],
		"with control bytes in it":      testSecret[:7] + "\x00" + testSecret[7:14] + "\x1b" + testSecret[14:],
		"in HTML, by name":              "s3cret&quot;with/odd&amp;parts",
	} {
		if got := c.Redact("<" + text + ">"); got != redacted {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := c.Redact("nothing of it"); got != "nothing of it" {
		t.Errorf("changed to %s", got)
	}
}

func TestRedactFindsEachOfTwoSecrets(t *testing.T) {
	var c Credential
	c.learn("key-1")
	c.learn("key-12345")
	c.learn("key-1")
	for _, text := range []string{"key-12345 key-1", "key-1", "key-12345"} {
		if got := c.Redact(text); got != redacted {
			t.Errorf("%s", got)
		}
	}
}

func TestALineContainsNoSplitSecret(t *testing.T) {
	c, err := NewCredential("a secret of words")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.line("not a\r\n\tsecret \x00of words?"); got != redacted {
		t.Errorf("%q", got)
	}
}

func TestLineIsAlwaysShortPrintableAndWithoutTheSecret(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[!-~]{8,40}`).Draw(t, "secret")
		c, err := NewCredential(secret)
		if err != nil {
			t.Fatal(err)
		}
		write := rapid.SampledFrom([]func(string) string{
			func(s string) string { return s }, url.QueryEscape, url.PathEscape, html.EscapeString,
			func(s string) string { b, _ := json.Marshal(s); return string(b) },
		}).Draw(t, "writing")
		before, after := rapid.String().Draw(t, "before"), rapid.String().Draw(t, "after")
		got := c.line(before + " " + write(secret) + " " + after)
		if len(got) > MaxMessage || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("%q", got)
		}
		if strings.Contains(got, secret) || strings.Contains(got, write(secret)) {
			t.Errorf("%q shows %q", got, secret)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	c, err := NewCredential(strings.Repeat("k3y-", 16))
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{
		"a usual message":     "Data deleted successfully",
		"a body at the limit": strings.Repeat("Data deleted successfully ", MaxBody/26),
		"escapes of escapes":  strings.Repeat("%2525255c", MaxBody/9),
		"repeated beginnings": strings.Repeat("k3y-", MaxBody/4),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.line(text)
			}
		})
	}
}

// A form encodes a space as +, and a secret may itself look like an escape.
func TestASecretOfUnusualCharactersIsFound(t *testing.T) {
	for _, secret := range []string{"pass word", "a b", "a b c d", `\one\`, `a"b\c`, `aaaa\x41`, "1+2 3", "a secret with blanks", `%7e"&amp;<%2B+\n`, `one&two;%41\x41`, "++++++++++++++", `\\\\`} {
		c, err := NewCredential(secret)
		if err != nil {
			t.Fatal(err)
		}
		inner, _ := json.Marshal(secret)
		for name, text := range map[string]string{
			"in clear": secret, "in a form": url.QueryEscape(secret), "in a path": url.PathEscape(secret), "in HTML": html.EscapeString(secret),
			"in JSON": string(inner), "in a form, twice": url.QueryEscape(url.QueryEscape(secret)), "in HTML in JSON": html.EscapeString(string(inner)),
		} {
			if got := c.line("the key " + text + " is wrong"); got != redacted {
				t.Errorf("%s %s: %s", secret, name, got)
			}
		}
	}
}

func TestALineIsCutToItsLimit(t *testing.T) {
	for length, want := range map[int]string{MaxMessage: strings.Repeat("x", MaxMessage), MaxMessage + 1: strings.Repeat("x", MaxMessage-len("…")) + "…"} {
		if got := Line(strings.Repeat("x", length)); got != want {
			t.Errorf("%d bytes became %q", length, got)
		}
	}
}

// No part of a secret remains where a text is cut.
func TestASecretIsFoundWhereALineIsCut(t *testing.T) {
	former, err := NewCredential("another-secret")
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCredential("s3cret!")
	if err != nil {
		t.Fatal(err)
	}
	for offset := range 20 {
		if got := Line(strings.Repeat("x", MaxMessage-offset)+"s3cret!", former, c); got != redacted {
			t.Errorf("at %d bytes before the limit: %q", offset, got[len(got)-20:])
		}
	}
}

func TestAMessageWithoutTheCredentialStaysAsItIs(t *testing.T) {
	c, err := NewCredential("kv-0123456789abcdef0123")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"Data deleted successfully", `body.ids.1: value is not a valid integer`, "xyz1::reg1:reg1::ghijk-1757937171-a8f3f7b9ea45",
		"100% of 3 + 4", `C:\x41\path & more`, "kv-01234567", "Invalid or missing access key", "https://api.example/x?y=%20z&amp;w",
	} {
		if got := c.line(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}
