package events

import (
	"encoding/base64"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// envelope is a CloudEvent taken apart: its attributes, of which the ones that matter
// are checked, and the fields of its data.
type envelope struct {
	prefix                  string // before the attributes' names: "ce-" in binary mode
	id, source, eventType   string
	subject                 string
	time                    time.Time
	traceParent, traceState string
	data                    []member
	dataText                jsontext.Value // the whole of data
}

const (
	fieldBody       = "body"
	fieldData       = "data"
	fieldDataBase64 = "data_base64"
)

// attributeNames are the attributes of CloudEvents 1.0. They are held against its rules.
var attributeNames = []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}

// traceNames are the attributes of the distributed tracing extension. What is wrong in
// them is ignored. Other extensions are not read at all.
var traceNames = []string{"traceparent", "tracestate"}

// structuredNames are the names that the JSON format knows, and that no other case may
// be given. Those of a trace are not among them: a trace never makes a request invalid.
var structuredNames = slices.Concat([]string{fieldData, fieldDataBase64}, attributeNames)

// maxHeaderBytes bounds the headers of an event. NATS stores messages with up to
// 64 KiB of headers; what the worker adds for a retry must fit beside the event's.
const maxHeaderBytes = 32 << 10

// readEnvelope reads a message in either mode. limit is the most bytes that it may have.
func readEnvelope(all map[string][]string, body []byte, limit int) (envelope, error) {
	own := eventHeaders(all)
	if own.bytes > maxHeaderBytes {
		return envelope{}, malformed("headers", "must not be larger than %d bytes in all, and have %d", maxHeaderBytes, own.bytes)
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
		return envelope{}, malformed(fieldBody, "must not be larger than %d bytes, and has %d", limit, len(body))
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
		value := find(members, name) // nil where it is null, the JSON format's way to say that it is not there
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
	// A copy of the id in a header is allowed, another id is not: two readers would
	// call the request by two names.
	if header, there, err := own.one("ce-id"); err != nil {
		return envelope{}, err
	} else if there && decodeHeader(header) != attributes["id"] {
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
		return envelope{}, malformed(fieldDataBase64, "must not stand beside data")
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
		return envelope{}, malformed(fieldBody, "must not be larger than %d bytes with its headers, and has %d", limit, size)
	}
	if contentType, there, err := own.one(headerContentType); err != nil {
		return envelope{}, err
	} else if there {
		if err := checkJSON(headerContentType, contentType); err != nil {
			return envelope{}, err
		}
	}
	for _, name := range []string{fieldData, fieldDataBase64} {
		if _, there := own.values[headerPrefix+name]; there {
			return envelope{}, malformed(headerPrefix+name, "must not be a header: with ce- headers the body is the data")
		}
	}
	attributes := make(map[string]string, len(attributeNames))
	for _, name := range attributeNames {
		value, there, err := own.one(headerPrefix + name)
		if err != nil {
			return envelope{}, err
		}
		if there {
			attributes[name] = decodeAttribute(name, value)
		}
	}
	for _, name := range traceNames {
		if value, there, err := own.one(headerPrefix + name); there && err == nil {
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

// checkAttributes holds the attributes of CloudEvents 1.0 against its rules and ours.
// prefix is how the message writes their names.
func checkAttributes(prefix string, attributes map[string]string) (envelope, error) {
	for _, name := range []string{"specversion", "id", "source", "type"} {
		if _, there := attributes[name]; !there && prefix == headerPrefix {
			return envelope{}, malformed(prefix+name, "is missing; an event in the body needs content-type %s beside ce- headers", ContentType)
		} else if !there {
			return envelope{}, malformed(name, "is missing")
		}
	}
	for _, name := range attributeNames {
		if value, there := attributes[name]; there && value == "" {
			return envelope{}, malformed(prefix+name, "must not be empty")
		}
	}
	if version := attributes["specversion"]; version != "1.0" {
		return envelope{}, malformed(prefix+"specversion", `must be "1.0", not %s`, quote(version))
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
	if value, there := attributes["time"]; there {
		var err error
		if e.time, err = parseTime(prefix+"time", value); err != nil {
			return envelope{}, err
		}
	}
	if value, there := attributes["datacontenttype"]; there {
		if err := checkJSON(prefix+"datacontenttype", value); err != nil {
			return envelope{}, err
		}
	}
	e.traceParent, e.traceState = traceContext(attributes["traceparent"], attributes["tracestate"])
	return e, nil
}
