package events

import (
	"bytes"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxIdentityBytes is the largest body that is searched for the id of an invalid
// request. It is the default maximum payload of NATS.
const maxIdentityBytes = 1 << 20

// identify returns the id and the source of an invalid request, so that its result is
// published under that id. It leaves each empty unless it is unambiguous. In structured
// mode the body must be complete JSON with the name once, in any case. In binary mode
// the header must have one value. If the content type does not determine the mode, an
// event without ce- headers is in the body; with a ce-id it has that id unless the
// body has another.
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

// decoded returns the value of an attribute's header, empty if there is none.
func (h headers) decoded(name string) (value string, there bool) {
	value, there, err := h.one(headerPrefix + name)
	if err != nil {
		return "", there
	}
	return decodeAttribute(name, value), there
}

// scanIdentity returns the top-level id and source of a JSON object and discards the
// rest. In the rest it accepts duplicate keys, invalid UTF-8, and any size and depth.
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
		// A value that is not a string counts as an empty one.
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
