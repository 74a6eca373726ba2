package events

import (
	"mime"
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
type headers map[string][]string

func eventHeaders(all map[string][]string) headers {
	var own headers
	for name, values := range all {
		lower := strings.ToLower(name)
		if lower != headerContentType && !strings.HasPrefix(lower, headerPrefix) || len(values) == 0 {
			continue
		}
		if own == nil {
			own = make(headers, len(all))
		}
		own[lower] = append(own[lower], values...)
	}
	return own
}

// one is the single value of a header, undecoded.
func (h headers) one(name string) (value string, there bool, err error) {
	switch values := h[name]; len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	default:
		return "", true, malformed(name, "is given more than once")
	}
}

// structured tells the mode of a message. The NATS binding lets the content type
// decide; without one, ce-specversion shows that the attributes are in the headers.
func (h headers) structured() (bool, error) {
	contentType, there, err := h.one(headerContentType)
	if err != nil {
		return false, err
	}
	if !there {
		return len(h["ce-specversion"]) == 0, nil
	}
	media, err := mediaType(headerContentType, contentType)
	if err != nil {
		return false, err
	}
	switch {
	// The binding's own text leaves the +json out.
	case media == ContentType, media == "application/cloudevents":
		return true, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		return false, malformed(headerContentType, "must be %s, not %s: no other event format is read", ContentType, quote(media))
	}
	return false, nil
}

// size is what the headers take in a message, each a line of its own.
func (h headers) size() int {
	n := 0
	for name, values := range h {
		for _, value := range values {
			n += len(name) + len(": ") + len(value) + len("\r\n")
		}
	}
	return n
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

// decodeHeader undoes what the NATS binding (1.0.3, section 3.1.3.2) does to a value:
// first a quoted string, as older senders write it, then one round of percent-encoding.
func decodeHeader(name, value string) (string, error) {
	value = strings.Trim(value, " \t")
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = unescape(value[1 : len(value)-1])
	}
	if strings.IndexByte(value, '%') >= 0 {
		var b strings.Builder
		for i := 0; i < len(value); i++ {
			if value[i] != '%' {
				b.WriteByte(value[i])
				continue
			}
			if i+2 >= len(value) || !isHex(value[i+1]) || !isHex(value[i+2]) {
				return "", malformed(name, "has a %% without two hexadecimal digits")
			}
			b.WriteByte(unhex(value[i+1])<<4 | unhex(value[i+2]))
			i += 2
		}
		value = b.String()
	}
	if !utf8.ValidString(value) {
		return "", malformed(name, "is not valid UTF-8")
	}
	return value, nil
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

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
