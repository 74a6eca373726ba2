package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// minLeak is the length of the shortest part of a secret that counts as a leak.
const minLeak = 13

// needles are parts of secrets in lower case, by their length: in plain text, in base64
// and in hexadecimal.
type needles map[int]map[string]bool

func newNeedles(secrets ...string) needles {
	n := needles{}
	for _, secret := range secrets {
		n.add(secret, minLeak)
		n.add(hex.EncodeToString([]byte(secret)), 2*minLeak)
		for _, before := range []string{"", ":", "u:"} {
			for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				text := alphabet.EncodeToString([]byte(before + secret))
				first := (len(before)*8 + 5) / 6 // the first character that only depends on the secret
				last := (len(before) + len(secret)) * 8 / 6
				n.add(text[first:last], minLeak*8/6)
			}
		}
	}
	return n
}

func (n needles) add(text string, length int) {
	text = strings.ToLower(text)
	if n[length] == nil {
		n[length] = map[string]bool{}
	}
	for i := 0; i+length <= len(text); i++ {
		n[length][text[i:i+length]] = true
	}
}

// in returns the first part of text that contains a needle in any of the readings; ""
// if there is none.
func (n needles) in(text []byte) string {
	for name, read := range readings {
		view := bytes.ToLower(read(text))
		for length, runs := range n {
			for i := 0; i+length <= len(view); i++ {
				if runs[string(view[i:i+length])] {
					return fmt.Sprintf("%s: %q", name, view[max(0, i-100):min(len(view), i+length+50)])
				}
			}
		}
	}
	return ""
}

var (
	percent   = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	unicode16 = regexp.MustCompile(`\\+(?:u00|x)[0-9a-fA-F]{2}`)
	backslash = regexp.MustCompile(`\\+([^\\ux])`)
)

// readings returns a text decoded in all known ways.
var readings = map[string]func([]byte) []byte{
	"as it is":         func(text []byte) []byte { return text },
	"from a URL":       unpercent,
	"twice from a URL": func(text []byte) []byte { return unpercent(unpercent(text)) },
	"from JSON":        unquoteJSON,
	"from JSON in JSON": func(text []byte) []byte {
		return unquoteJSON(unquoteJSON(text))
	},
	"from HTML":         func(text []byte) []byte { return []byte(html.UnescapeString(string(text))) },
	"from HTML in JSON": func(text []byte) []byte { return []byte(html.UnescapeString(string(unquoteJSON(text)))) },
	"from a URL in JSON": func(text []byte) []byte {
		return unpercent(unquoteJSON(text))
	},
}

func unpercent(text []byte) []byte {
	return percent.ReplaceAllFunc(text, func(m []byte) []byte { return hexByte(m[1:]) })
}

func unquoteJSON(text []byte) []byte {
	text = unicode16.ReplaceAllFunc(text, func(m []byte) []byte { return hexByte(m[len(m)-2:]) })
	return bytes.ReplaceAll(backslash.ReplaceAll(text, []byte("$1")), []byte(`\\`), []byte(`\`))
}

func hexByte(digits []byte) []byte {
	code, _ := strconv.ParseUint(string(digits), 16, 8) // the pattern has two digits
	return []byte{byte(code)}
}

// spellings are ways to write a secret or a leaking part of it.
var spellings = map[string]func(string) string{
	"clear":                   func(s string) string { return s },
	"upper case":              strings.ToUpper,
	"lower case":              strings.ToLower,
	"query":                   url.QueryEscape,
	"path":                    url.PathEscape,
	"query, twice":            func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"percent throughout":      func(s string) string { return each(s, "%%%02X") },
	"JSON":                    func(s string) string { return strings.Trim(strconv.Quote(s), `"`) },
	"JSON throughout":         func(s string) string { return each(s, `\u%04x`) },
	"JSON, upper case":        func(s string) string { return each(s, `\u%04X`) },
	"Go throughout":           func(s string) string { return each(s, `\x%02x`) },
	"HTML":                    html.EscapeString,
	"HTML throughout":         func(s string) string { return each(s, "&#x%x;") },
	"HTML in decimals":        func(s string) string { return each(s, "&#%d;") },
	"base64":                  func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 for URLs":         func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 of user:secret":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("lethe:" + s)) },
	"base64 of Bearer":        func(s string) string { return base64.StdEncoding.EncodeToString([]byte("Bearer " + s)) },
	"base64 of a half":        func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s[:len(s)/2])) },
	"hexadecimal":             func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hexadecimal, upper case": func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"first half":              func(s string) string { return s[:len(s)/2] },
	"second half":             func(s string) string { return s[len(s)/2:] },
	"middle":                  func(s string) string { return s[5 : len(s)-5] },
	"half in a query":         func(s string) string { return url.QueryEscape(s[:len(s)/2]) },
}

func each(s, format string) string {
	var all strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&all, format, c)
	}
	return all.String()
}

// allSpellings is one text with all spellings.
func allSpellings(secret string) string {
	var all []string
	for _, spell := range spellings {
		all = append(all, spell(secret))
	}
	return strings.Join(all, " | ")
}

// This test shows that the search finds secrets.
func TestTheSearchFindsEverySpelling(t *testing.T) {
	for _, secret := range []string{echoedKey, echoedSecret, natsPassword, collectorKey} {
		if len(secret) < 2*minLeak {
			t.Fatalf("%q is too short to be found by its halves", secret)
		}
		search := newNeedles(secret)
		for name, spell := range spellings {
			for place, hide := range map[string]func(string) string{
				"in a text":   func(s string) string { return "a text with " + s + " in it" },
				"in a string": func(s string) string { return strconv.Quote("a text with " + s + " in it") },
			} {
				if search.in([]byte(hide(spell(secret)))) == "" {
					t.Errorf("%q is not found %s, written as %s: %s", secret, place, name, hide(spell(secret)))
				}
			}
		}
		if found := search.in([]byte("a text with " + secret[:minLeak-1] + " in it")); found != "" {
			t.Errorf("found in %s", found)
		}
	}
}
