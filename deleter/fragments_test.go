package deleter

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// An API may echo a part of the credential, or an encoding of it.
func TestRedactFindsPartsAndEncodings(t *testing.T) {
	const secret = `Org+s3cret"with/odd&parts-0123`
	c, err := NewCredential(secret)
	if err != nil {
		t.Fatal(err)
	}
	quoted, _ := json.Marshal(secret[7:])
	for name, text := range map[string]string{
		"in base64":                     base64.StdEncoding.EncodeToString([]byte(secret)),
		"in base64 for URLs":            base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"in base64 after another":       base64.StdEncoding.EncodeToString([]byte(":" + secret)),
		"in base64 after two others":    base64.StdEncoding.EncodeToString([]byte("a:" + secret)),
		"in base64 in a URL":            url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(secret))),
		"a half in base64":              base64.StdEncoding.EncodeToString([]byte(secret[:len(secret)/2])),
		"in hexadecimal":                hex.EncodeToString([]byte(secret)),
		"in hexadecimal, large":         strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"in large letters":              strings.ToUpper(secret),
		"in small letters":              strings.ToLower(secret),
		"its beginning":                 secret[:fragmentLength],
		"its end":                       secret[len(secret)-fragmentLength:],
		"its middle":                    secret[3:20],
		"a part in a URL":               url.QueryEscape(secret[:20]),
		"a part in a URL, twice":        url.QueryEscape(url.QueryEscape(secret[:20])),
		"a part in JSON":                string(quoted),
		"a part in HTML":                html.EscapeString(secret[:24]),
		"a part in HTML, by name":       "s3cret&quot;with/odd&amp;parts",
		"a part as Go quotes bytes":     `\x73\x33\x63\x72\x65\x74\x22\x77\x69\x74\x68\x2f`,
		"a part in JSON, all escaped":   `\u0073\u0033\u0063\u0072\u0065\u0074\u0022\u0077\u0069\u0074\u0068\u002F`,
		"all of it, as Go quotes bytes": `\x4f\x72\x67` + secret[3:],
	} {
		if got := c.Redact("<" + text + ">"); got != redacted {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, text := range []string{"nothing of it", secret[:fragmentLength-1], "100% & more \\", "%", `\`, "&#99", ""} {
		if got := c.Redact(text); got != text {
			t.Errorf("%q is changed to %q", text, got)
		}
	}
}

func TestAShortSecretIsFoundOnlyAsAWord(t *testing.T) {
	for _, c := range []struct {
		secret, text string
		want         bool
	}{
		{"e", "Data deleted successfully", false},
		{"e", "the key e is wrong", true},
		{"E", `{"key":"e"}`, true},
		{"e", "key=%65", true},
		{"e", "e", true},
		{"e", "ee e", true},
		{"e", "\u00e9e", false},
		{"no", "bm8 6e6f noted, and piano", false},
		{"no", "piano=no", true},
		{"+/", "a b, and/or", false},
		{"+/", "the key +/", true},
		{"+/", "the key %2B%2F", true},
		{"a+b", "a+bc a+b", true},
		{"key1", "the 'mykey12' is wrong", true},
	} {
		credential, err := NewCredential(c.secret)
		if err != nil {
			t.Fatal(err)
		}
		if got := credential.Redact(c.text); (got == redacted) != c.want || got != redacted && got != c.text {
			t.Errorf("%q in %q: %q", c.secret, c.text, got)
		}
	}
}

func TestRedactLeavesNoPartOfTheSecret(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[!-~]{12,60}`).Draw(t, "secret")
		c, err := NewCredential(secret)
		if err != nil {
			t.Fatal(err)
		}
		from := rapid.IntRange(0, len(secret)-fragmentLength).Draw(t, "from")
		to := rapid.IntRange(from+fragmentLength, len(secret)).Draw(t, "to")
		got := c.Redact(rapid.String().Draw(t, "before") + secret[from:to] + rapid.String().Draw(t, "after"))
		for i := 0; i+fragmentLength <= len(secret); i++ {
			if strings.Contains(got, secret[i:i+fragmentLength]) {
				t.Fatalf("%q shows a part of %q", got, secret)
			}
		}
	})
}
