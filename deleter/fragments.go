package deleter

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
)

// fragmentLength is the least run of a credential's bytes that is found where
// the rest is missing. APIs show a part of what was wrong, cut their texts, and
// write over several members what was one.
const fragmentLength = 12

// minEncoded is the least length of an encoded fragment: shorter ones would be
// found in ordinary words.
const minEncoded = 8

// maxUnescapes is how many layers of escapes are looked through.
const maxUnescapes = 3

// fragments are runs of secrets in lower case, by their length: in clear, and
// as base64 and hexadecimal write them at any place of a longer text.
type fragments map[int]map[string]struct{}

func newFragments(secrets []string) fragments {
	f := fragments{}
	for _, secret := range secrets {
		if len(secret) >= fragmentLength { // shorter ones are found whole, by echoes
			f.add(secret, fragmentLength)
		}
		f.encoded(hex.EncodeToString([]byte(secret)), 2*fragmentLength)
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for before := range 3 {
				text := alphabet.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
				// Without the characters that hold bits of a neighbour.
				f.encoded(text[(before*8+5)/6:(before+len(secret))*8/6], (fragmentLength*8)/6)
			}
		}
	}
	return f
}

func (f fragments) encoded(text string, length int) {
	if length = min(length, len(text)); length >= minEncoded {
		f.add(text, length)
	}
}

func (f fragments) add(text string, length int) {
	text = strings.ToLower(text)
	if f[length] == nil {
		f[length] = map[string]struct{}{}
	}
	for i := 0; i+length <= len(text); i++ {
		f[length][text[i:i+length]] = struct{}{}
	}
}

// remove puts [redacted] in the place of each run that fragments cover.
func (f fragments) remove(text string) string {
	covered := make([]bool, len(text))
	found := false
	v := plainView(text)
	for range maxUnescapes + 1 {
		found = f.cover(v, covered) || found
		unescaped, changed := v.unescape()
		if !changed {
			break
		}
		v = unescaped
	}
	if !found {
		return text
	}
	var clean strings.Builder
	for i := range len(text) {
		switch {
		case !covered[i]:
			clean.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			clean.WriteString(redacted)
		}
	}
	return clean.String()
}

// cover marks what the fragments in v stand for, and says whether there are any.
func (f fragments) cover(v view, covered []bool) (found bool) {
	for length, all := range f {
		for i := 0; i+length <= len(v.bytes); i++ {
			if _, ok := all[string(v.bytes[i:i+length])]; !ok {
				continue
			}
			found = true
			for at := v.from[i]; at < v.from[i+length]; at++ {
				covered[at] = true
			}
		}
	}
	return found
}

// view is a text in lower case with some escapes resolved. The byte i stands
// for those of the original text from from[i] up to from[i+1].
type view struct {
	bytes []byte
	from  []int
}

func plainView(text string) view {
	v := view{[]byte(text), make([]int, len(text)+1)}
	for i := range v.from {
		v.from[i] = i
	}
	v.lower()
	return v
}

// lower leaves what is not ASCII, whose case may change its length.
func (v view) lower() {
	for i, c := range v.bytes {
		if 'A' <= c && c <= 'Z' {
			v.bytes[i] = c + 'a' - 'A'
		}
	}
}

// escape is one character as URLs, JSON, Go and HTML write it. It is matched
// against lower case.
var escape = regexp.MustCompile(`%([0-9a-f]{2})|\\+(?:x|u00)([0-9a-f]{2})|\\+(.)|&#0*([0-9]{2,3});|&#x0*([0-9a-f]{2});|&(quot|amp|apos|lt|gt);`)

// unescape resolves one layer of escapes, and says whether there was any.
func (v view) unescape() (unescaped view, changed bool) {
	if !bytes.ContainsAny(v.bytes, `%\&`) {
		return v, false
	}
	end := 0
	keep := func(to int) {
		unescaped.bytes = append(unescaped.bytes, v.bytes[end:to]...)
		unescaped.from = append(unescaped.from, v.from[end:to]...)
	}
	for _, m := range escape.FindAllSubmatchIndex(v.bytes, -1) {
		keep(m[0])
		unescaped.bytes = append(unescaped.bytes, character(v.bytes, m))
		unescaped.from = append(unescaped.from, v.from[m[0]])
		end, changed = m[1], true
	}
	keep(len(v.bytes))
	unescaped.from = append(unescaped.from, v.from[len(v.bytes)])
	unescaped.lower()
	return unescaped, changed
}

// character is what a match of escape, in text, stands for.
func character(text []byte, match []int) byte {
	for group, base := range map[int]int{1: 16, 2: 16, 4: 10, 5: 16} {
		if match[2*group] >= 0 {
			code, _ := strconv.ParseUint(string(text[match[2*group]:match[2*group+1]]), base, 16) // digits alone
			return byte(code)
		}
	}
	if match[6] >= 0 {
		return text[match[6]]
	}
	name := string(text[match[12]:match[13]])
	for c, known := range entities {
		if known == name {
			return c
		}
	}
	return ' '
}
