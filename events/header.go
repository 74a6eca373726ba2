package events

import (
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"
)

// ContentType is the content-type header of an event in structured mode. All results
// have it.
const ContentType = "application/cloudevents+json"

// contentTypeJSON is the media type of an event's data.
const contentTypeJSON = "application/json"

const (
	headerContentType = "content-type"
	headerPrefix      = "ce-"
)

// headers are the headers of a message that belong to its event, with lower-case names:
// NATS preserves the case of names, but CloudEvents ignores it.
type headers struct {
	values map[string]headerValue
	bytes  int // their size in the message, each as one line
}

// headerValue is a header's value without the white space around it, undecoded.
type headerValue struct {
	text    string
	differs bool // the header occurs again with another value
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
		return // an empty content type means none
	}
	first, found := h.values[name]
	switch {
	case !found:
		h.values[name] = headerValue{text: value}
	case value != first.text && !(contentType && strings.EqualFold(value, first.text)):
		first.differs = true
		h.values[name] = first
	}
}

// one returns the value of a header. A header may be repeated only with the same value.
func (h headers) one(name string) (value string, found bool, err error) {
	header, found := h.values[name]
	if header.differs {
		return "", true, malformed(name, "is given more than once, with different values")
	}
	return header.text, found, nil
}

// hasAttributes reports whether found is a ce- header.
func (h headers) hasAttributes() bool {
	for name := range h.values {
		if name != headerContentType {
			return true
		}
	}
	return false
}

// structured reports whether a message is in structured mode. The content type of
// structured mode decides. Otherwise any ce- header means binary mode. Without one the
// body must be the event, because a message without attributes is not an event.
func (h headers) structured() (bool, error) {
	contentType, found, err := h.one(headerContentType)
	if err != nil {
		return false, err
	}
	var media string
	if found {
		if media, err = mediaType(headerContentType, contentType); err != nil {
			return false, err
		}
	}
	switch {
	// The text of the NATS binding omits the +json.
	case media == ContentType, media == "application/cloudevents":
		return true, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		return false, malformed(headerContentType, "must be %s, not %s: other event formats are not supported", ContentType, quote(media))
	case h.hasAttributes():
		return false, nil
	case found:
		return true, checkJSON(headerContentType, contentType)
	}
	return true, nil
}

// checkJSON refuses a media type other than JSON.
func checkJSON(field, value string) error {
	media, err := mediaType(field, value)
	if err != nil {
		return err
	}
	if media != contentTypeJSON && !strings.HasSuffix(media, "+json") {
		return malformed(field, "must be %s, not %s", contentTypeJSON, quote(media))
	}
	return nil
}

// mediaType returns the media type in lower case without its parameters.
func mediaType(field, value string) (string, error) {
	media, _, err := mime.ParseMediaType(value)
	if err != nil {
		return "", malformed(field, "must be a media type, not %s", quote(value))
	}
	return media, nil
}

// decodeAttribute decodes the header of an attribute. Senders that follow the NATS binding
// write a % as %25, but common SDKs do not encode. So a source that is a valid
// URI-reference is not decoded.
func decodeAttribute(name, value string) string {
	if name == "source" && checkSource("", value) == nil {
		return value
	}
	return decodeHeader(value)
}

// decodeHeader reverses the encoding of the NATS binding (1.0.3, section 3.1.3.2): first a
// quoted string, which older senders write, then one round of percent-encoding. A value
// that is not encoded is returned unchanged.
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

// unescape removes the backslashes of a quoted string (RFC 7230, section 3.2.6).
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
