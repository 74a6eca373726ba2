package events

import (
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"
)

// ContentType is the content-type header of an event in structured mode, as all
// results have it.
const ContentType = "application/cloudevents+json"

const (
	headerContentType = "content-type"
	headerPrefix      = "ce-"
)

// headers are the headers of a message that belong to its event, under lower-case
// names: NATS keeps the case that the publisher chose, CloudEvents gives it no meaning.
type headers struct {
	values map[string]headerValue
	bytes  int // what they take in the message, each a line of its own
}

// headerValue is a header's value without the white space around it, undecoded.
type headerValue struct {
	text    string
	differs bool // the header is there again with another value
}

func eventHeaders(all map[string][]string) headers {
	own := headers{values: make(map[string]headerValue, len(all))}
	for name, values := range all {
		lower := strings.ToLower(name)
		if lower != headerContentType && !strings.HasPrefix(lower, headerPrefix) {
			continue
		}
		for _, value := range values {
			own.bytes += len(name) + len(": ") + len(value) + len("\r\n")
			own.add(lower, strings.Trim(value, " \t"))
		}
	}
	return own
}

func (h headers) add(name, value string) {
	contentType := name == headerContentType
	if contentType && value == "" {
		return // it says nothing
	}
	first, there := h.values[name]
	switch {
	case !there:
		h.values[name] = headerValue{text: value}
	case value != first.text && !(contentType && strings.EqualFold(value, first.text)):
		first.differs = true
		h.values[name] = first
	}
}

// one is the value of a header. A header that is there twice has one value only if both
// are the same.
func (h headers) one(name string) (value string, there bool, err error) {
	found, there := h.values[name]
	if found.differs {
		return "", true, malformed(name, "is given more than once, with different values")
	}
	return found.text, there, nil
}

// hasAttributes reports whether there is a ce- header.
func (h headers) hasAttributes() bool {
	for name := range h.values {
		if name != headerContentType {
			return true
		}
	}
	return false
}

// structured tells the mode of a message. The content type decides if it is that of
// structured mode. Otherwise any ce- header means binary mode, and without one the body
// must be the event, because a message without attributes is not an event.
func (h headers) structured() (bool, error) {
	contentType, there, err := h.one(headerContentType)
	if err != nil {
		return false, err
	}
	var media string
	if there {
		if media, err = mediaType(headerContentType, contentType); err != nil {
			return false, err
		}
	}
	switch {
	// The binding's own text leaves the +json out.
	case media == ContentType, media == "application/cloudevents":
		return true, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		return false, malformed(headerContentType, "must be %s, not %s: no other event format is read", ContentType, quote(media))
	case h.hasAttributes():
		return false, nil
	case there:
		return true, checkJSON(headerContentType, contentType)
	}
	return true, nil
}

// checkJSON refuses a media type of data that is not JSON.
func checkJSON(field, value string) error {
	media, err := mediaType(field, value)
	if err != nil {
		return err
	}
	if media != "application/json" && !strings.HasSuffix(media, "+json") {
		return malformed(field, "must be application/json, not %s", quote(media))
	}
	return nil
}

// mediaType is the media type in lower case without its parameters.
func mediaType(field, value string) (string, error) {
	media, _, err := mime.ParseMediaType(value)
	if err != nil {
		return "", malformed(field, "must be a media type, not %s", quote(value))
	}
	return media, nil
}

// decodeAttribute is the value that an attribute's header stands for. Senders that follow
// the NATS binding write a % as %25. Widespread SDKs write each value as it is, so a source
// that is a URI-reference as it stands is taken as it stands.
func decodeAttribute(name, value string) string {
	if name == "source" && checkSource("", value) == nil {
		return value
	}
	return decodeHeader(value)
}

// decodeHeader undoes what the NATS binding (1.0.3, section 3.1.3.2) does to a value:
// first a quoted string, as older senders write it, then one round of percent-encoding.
// A value that is not encoded so is returned unchanged.
func decodeHeader(value string) string {
	decoded := value
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		decoded = unescape(value[1 : len(value)-1])
	}
	decoded, err := url.PathUnescape(decoded)
	if err != nil || !utf8.ValidString(decoded) {
		return value
	}
	return decoded
}

// unescape undoes the backslashes of a quoted string (RFC 7230, section 3.2.6).
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
