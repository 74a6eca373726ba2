package events

import (
	"encoding/base64"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// envelope is a parsed CloudEvent: its attributes, checked if Lethe uses them, and the
// fields of its data.
type envelope struct {
	prefix                  string // of the attributes' names: "ce-" in binary mode
	id, source, eventType   string
	subject                 string
	time                    time.Time
	traceParent, traceState string
	data                    []member
	dataText                jsontext.Value // the whole of data
}

// specVersion is the version of CloudEvents that is read and written.
const specVersion = "1.0"

const (
	fieldBody       = "body"
	fieldData       = "data"
	fieldDataBase64 = "data_base64"
)

// attributeNames are the attributes of CloudEvents 1.0. They are checked against its rules.
var attributeNames = []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}

// traceNames are the attributes of the distributed tracing extension. Invalid ones are
// ignored. Other extensions are not read.
var traceNames = []string{"traceparent", "tracestate"}

// structuredNames are the names defined by the JSON format, which must not occur in
// another case. It omits those of a trace, which never makes a request invalid.
var structuredNames = slices.Concat([]string{fieldData, fieldDataBase64}, attributeNames)

// maxHeaderBytes limits the headers of an event. NATS allows 64 KiB of headers, which
// must also hold those that the worker adds for a retry.
const maxHeaderBytes = 32 << 10

// readEnvelope reads a message in either mode. limit is its maximum size in bytes.
func readEnvelope(all map[string][]string, body []byte, limit int) (envelope, error) {
	own := eventHeaders(all)
	if own.bytes > maxHeaderBytes {
		return envelope{}, malformed("headers", "must be at most %d bytes in total, not %d", maxHeaderBytes, own.bytes)
	}
	structured, err := own.structured()
	if err != nil {
		return envelope{}, err
	}
	if structured {
		return readStructured(own, body, limit)
	}
	return readBinary(own, body, limit)
}

func readStructured(own headers, body []byte, limit int) (envelope, error) {
	if len(body) > limit {
		return envelope{}, malformed(fieldBody, "must be at most %d bytes, not %d", limit, len(body))
	}
	members, err := readObject(fieldBody, body)
	if err != nil {
		return envelope{}, err
	}
	if err := checkNames("", members, structuredNames); err != nil {
		return envelope{}, err
	}
	attributes := make(map[string]string, len(attributeNames))
	for _, name := range attributeNames {
		value := find(members, name) // nil also for null, which means missing in the JSON format
		if value == nil {
			continue
		}
		if value.Kind() != '"' {
			return envelope{}, malformed(name, "must be a string, not %s", kindName(value.Kind()))
		}
		attributes[name] = unquote(value)
	}
	for _, name := range traceNames {
		if value := find(members, name); value.Kind() == '"' {
			attributes[name] = unquote(value)
		}
	}
	// The id may be repeated in a header, but a different id is refused: two readers
	// could use different ids for the request.
	if header, found, err := own.one("ce-id"); err != nil {
		return envelope{}, err
	} else if found && decodeHeader(header) != attributes["id"] {
		return envelope{}, malformed("ce-id", "differs from the id in the body")
	}
	e, err := checkAttributes("", attributes)
	if err != nil {
		return envelope{}, err
	}
	data, encoded := find(members, fieldData), find(members, fieldDataBase64)
	switch {
	case data == nil && encoded == nil:
		return envelope{}, malformed(fieldData, "is missing")
	case data != nil && encoded != nil:
		return envelope{}, malformed(fieldDataBase64, "must not occur together with data")
	case encoded != nil:
		if encoded.Kind() != '"' {
			return envelope{}, malformed(fieldDataBase64, "must be a string, not %s", kindName(encoded.Kind()))
		}
		if data, err = base64.StdEncoding.Strict().DecodeString(unquote(encoded)); err != nil {
			return envelope{}, malformed(fieldDataBase64, "must be base64")
		}
	}
	e.dataText = data
	e.data, err = readObject(fieldData, data)
	return e, err
}

func readBinary(own headers, body []byte, limit int) (envelope, error) {
	if size := own.bytes + len(body); size > limit {
		return envelope{}, malformed(fieldBody, "must be at most %d bytes with its headers, not %d", limit, size)
	}
	if contentType, found, err := own.one(headerContentType); err != nil {
		return envelope{}, err
	} else if found {
		if err := checkJSON(headerContentType, contentType); err != nil {
			return envelope{}, err
		}
	}
	for _, name := range []string{fieldData, fieldDataBase64} {
		if _, found := own.values[headerPrefix+name]; found {
			return envelope{}, malformed(headerPrefix+name, "must not be a header: with ce- headers the body is the data")
		}
	}
	attributes := make(map[string]string, len(attributeNames))
	for _, name := range attributeNames {
		value, found, err := own.one(headerPrefix + name)
		if err != nil {
			return envelope{}, err
		}
		if found {
			attributes[name] = decodeAttribute(name, value)
		}
	}
	for _, name := range traceNames {
		if value, found, err := own.one(headerPrefix + name); found && err == nil {
			attributes[name] = decodeHeader(value)
		}
	}
	e, err := checkAttributes(headerPrefix, attributes)
	if err != nil {
		return envelope{}, err
	}
	if len(body) == 0 {
		return envelope{}, malformed(fieldData, "is missing")
	}
	e.dataText = body
	e.data, err = readObject(fieldData, body)
	return e, err
}

// checkAttributes checks the attributes against the rules of CloudEvents 1.0 and Lethe's
// own. prefix is the prefix of their names in the message.
func checkAttributes(prefix string, attributes map[string]string) (envelope, error) {
	for _, name := range []string{"specversion", "id", "source", "type"} {
		if _, found := attributes[name]; !found && prefix == headerPrefix {
			return envelope{}, malformed(prefix+name, "is missing; with ce- headers, an event in the body needs content-type %s", ContentType)
		} else if !found {
			return envelope{}, malformed(name, "is missing")
		}
	}
	for _, name := range attributeNames {
		if value, found := attributes[name]; found && value == "" {
			return envelope{}, malformed(prefix+name, "must not be empty")
		}
	}
	if version := attributes["specversion"]; version != specVersion {
		return envelope{}, malformed(prefix+"specversion", "must be %q, not %s", specVersion, quote(version))
	}
	e := envelope{
		prefix:    prefix,
		id:        attributes["id"],
		source:    attributes["source"],
		eventType: attributes["type"],
		subject:   attributes["subject"],
	}
	if err := checkSource(prefix+"source", e.source); err != nil {
		return envelope{}, err
	}
	if value, found := attributes["time"]; found {
		var err error
		if e.time, err = parseTime(prefix+"time", value); err != nil {
			return envelope{}, err
		}
	}
	if value, found := attributes["datacontenttype"]; found {
		if err := checkJSON(prefix+"datacontenttype", value); err != nil {
			return envelope{}, err
		}
	}
	e.traceParent, e.traceState = traceContext(attributes["traceparent"], attributes["tracestate"])
	return e, nil
}
