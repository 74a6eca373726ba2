package events

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// member is one field of a JSON object with its raw value.
type member struct {
	name  string
	value jsontext.Value
}

// readObject reads text as exactly one JSON object (RFC 8259) with the restrictions of
// RFC 7493 (valid UTF-8, no duplicate keys at any level) and at most [MaxDepth] levels.
// field names the text in errors. The values are slices of text.
func readObject(field string, text []byte) ([]member, error) {
	if tooDeep(text) {
		return nil, malformed(field, "is nested deeper than %d levels", MaxDepth)
	}
	dec := decoders.Get().(*jsontext.Decoder)
	dec.Reset(bytes.NewBuffer(text))
	if len(text) <= usualText {
		defer decoders.Put(dec)
	}
	switch kind := dec.PeekKind(); kind {
	case '{':
	case 0:
		_, err := dec.ReadToken()
		return nil, syntaxError(field, err)
	default:
		return nil, malformed(field, "must be a JSON object, not %s", kindName(kind))
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, syntaxError(field, err)
	}
	members := make([]member, 0, 8)
	for dec.PeekKind() != '}' {
		name, err := dec.ReadValue()
		if err != nil {
			return nil, syntaxError(field, err)
		}
		m := member{name: unquote(name)}
		value, err := dec.ReadValue()
		if err != nil {
			return nil, syntaxError(field, err)
		}
		end := dec.InputOffset()
		m.value = text[end-int64(len(value)) : end] // value is only valid until the next read
		members = append(members, m)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, syntaxError(field, err)
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, malformed(field, "has bytes after its end, at byte %d", dec.InputOffset())
	}
	return members, nil
}

// decoders are used again: what each allocates to find duplicate keys is half of the
// cost of reading an event. Those that read a long text are dropped with their memory.
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(strings.NewReader("")) }}

const usualText = 4 << 10

// tooDeep reports whether a JSON text has more than [MaxDepth] levels. The decoder's own
// limit is 10,000.
func tooDeep(text []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return false
}

// syntaxError returns the error of an invalid JSON text, with the position.
func syntaxError(field string, err error) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, io.EOF):
		return malformed(field, "is empty")
	case !ok:
		return malformed(field, "cannot be read as JSON: %v", err)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return malformed(pointerField(field, syntax.JSONPointer), "is given more than once")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return malformed(field, "ends in the middle of its JSON")
	default:
		return malformed(field, "is not valid JSON: %v at byte %d", syntax.Err, syntax.ByteOffset)
	}
}

// pointerField converts a JSON pointer to a field name for errors: /ids/1 in data is
// data.ids[1]. It omits the name of the body.
func pointerField(root string, pointer jsontext.Pointer) string {
	var b strings.Builder
	if root != fieldBody {
		b.WriteString(root)
	}
	for token := range pointer.Tokens() {
		if _, err := strconv.Atoi(token); err == nil && b.Len() > 0 {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	return b.String()
}

// find returns the value of a field, nil if it is missing or null.
func find(members []member, name string) jsontext.Value {
	for _, m := range members {
		if m.name == name && m.value.Kind() != 'n' {
			return m.value
		}
	}
	return nil
}

// checkNames refuses a field whose name differs from a known one only by case:
// encoding/json, for example, would read it as that field.
func checkNames(prefix string, members []member, known []string) error {
	for _, m := range members {
		if slices.Contains(known, m.name) {
			continue
		}
		for _, name := range known {
			if strings.EqualFold(m.name, name) {
				return malformed(prefix+m.name, "differs from %q by case", name)
			}
		}
	}
	return nil
}

// commonTexts are the names and values of nearly all events.
var commonTexts = func() map[string]string {
	texts := map[string]string{}
	for _, text := range slices.Concat(structuredNames, dataNames, []string{specVersion, RequestType, contentTypeJSON}) {
		texts[text] = text
	}
	for _, target := range Targets() {
		texts[string(target)] = string(target)
	}
	return texts
}()

// unquote returns the value of a JSON string, which is already validated.
func unquote(value jsontext.Value) string {
	if value.Kind() == '"' && bytes.IndexByte(value, '\\') < 0 {
		inner := value[1 : len(value)-1]
		if name, common := commonTexts[string(inner)]; common { // without an allocation
			return name
		}
		return string(inner)
	}
	unquoted, _ := jsontext.AppendUnquote(nil, value)
	return string(unquoted)
}

const integerRule = "an integer from 1 to 9223372036854775807, without fraction or exponent"

// positiveInteger reads an integer from 1 to 2^63-1 exactly. A float64 would round it to
// another id.
func positiveInteger(value jsontext.Value) (int64, bool) {
	if value.Kind() != '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(value), 10, 64)
	return int64(n), err == nil && 1 <= n && n <= math.MaxInt64
}

// notPositiveInteger returns the error of a value that positiveInteger refuses.
func notPositiveInteger(field string, value jsontext.Value) error {
	is := valueKind(value)
	if value.Kind() == '0' {
		is = printable(string(value), 48)
	}
	return invalid(CodeInvalidResource, field, "must be %s, not %s", integerRule, is)
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return "nothing"
}

// valueKind names the kind of a field's value. It is nil if find found null.
func valueKind(value jsontext.Value) string {
	if value == nil {
		return kindName('n')
	}
	return kindName(value.Kind())
}
