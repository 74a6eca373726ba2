package events

import (
	"bytes"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxIdentityBytes is the largest body that is searched for the id of a request that
// cannot be read: the most that NATS carries by default.
const maxIdentityBytes = 1 << 20

// identify finds the id and the source of a message that is no valid request, so that
// its publisher learns under that id what was wrong. Each is left empty unless it is
// beyond doubt: in structured mode the body must be whole JSON that has it once, in
// whatever case; in binary mode its header must have one value. Where the content type
// leaves the mode open, an event without ce- headers can only be in the body; one with
// a ce-id has that id unless the body names another.
func identify(all map[string][]string, body []byte) Request {
	own := eventHeaders(all)
	structured, err := own.structured()
	headerID, there := own.decoded("id")
	bodyID, bodySource := scanIdentity(body)
	open := err != nil
	var id, source string
	switch {
	case structured || open && !own.hasAttributes():
		id, source = bodyID, bodySource
		if there && headerID != id {
			id = ""
		}
	case !open:
		id = headerID
		source, _ = own.decoded("source")
	case bodyID == "" || bodyID == headerID:
		id = headerID
	}
	var found Request
	if checkID("", id) == nil {
		found.ID = id
	}
	if checkSource("", source) == nil {
		found.Source = source
	}
	return found
}

// decoded is the value of an attribute's header, empty if there is not one.
func (h headers) decoded(name string) (value string, there bool) {
	value, there, err := h.one(headerPrefix + name)
	if err != nil {
		return "", there
	}
	return decodeAttribute(name, value), there
}

// scanIdentity looks for the top-level id and source of a JSON object without keeping
// anything else. It is lenient in what does not touch them: keys that come
// twice, broken UTF-8, size and depth.
func scanIdentity(body []byte) (id, source string) {
	if len(body) > maxIdentityBytes {
		return "", ""
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return "", ""
	}
	found := map[string][]string{}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return "", ""
		}
		name := token.String()
		for _, wanted := range []string{"id", "source"} {
			if strings.EqualFold(name, wanted) {
				name = wanted
			}
		}
		if name != "id" && name != "source" || len(found[name]) > 1 {
			if dec.SkipValue() != nil {
				return "", ""
			}
			continue
		}
		value, err := dec.ReadValue()
		if err != nil {
			return "", ""
		}
		// What is no string stands here as empty, so that it still counts.
		var s string
		if value.Kind() == '"' {
			s = unquote(value)
		}
		found[name] = append(found[name], s)
	}
	if _, err := dec.ReadToken(); err != nil {
		return "", ""
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return "", ""
	}
	if len(found["id"]) == 1 {
		id = found["id"][0]
	}
	if len(found["source"]) == 1 {
		source = found["source"][0]
	}
	return id, source
}
