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
// whatever case; in binary mode its header must be there once.
func identify(all map[string][]string, body []byte) Request {
	own := eventHeaders(all)
	structured, err := own.structured()
	if err != nil {
		return Request{}
	}
	var id, source string
	headerID, there := own.decoded("ce-id")
	if structured {
		if id, source = scanIdentity(body); there && headerID != id {
			id = ""
		}
	} else {
		id = headerID
		source, _ = own.decoded("ce-source")
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

// decoded is the value of a header, empty if it is not there once and well-formed.
func (h headers) decoded(name string) (value string, there bool) {
	value, there, err := h.one(name)
	if err == nil {
		value, err = decodeHeader(name, value)
	}
	if err != nil {
		return "", there
	}
	return value, there
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
