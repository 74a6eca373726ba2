package events

import (
	"net/url"
	"regexp"
	"strings"
	"time"
)

// checkID checks the id of a request. It becomes a token of a subject, where a dot, a
// star or a space would change the meaning.
func checkID(field, id string) error {
	if !idForm(id) {
		return malformed(field, "must be 1 to 64 of A-Z, a-z, 0-9, _ and -, not %s", quote(id))
	}
	if reservedID(id) {
		return malformed(field, "must not have the form seq-<number>, which is reserved for requests without a usable id, not %s", quote(id))
	}
	return nil
}

// IsName reports whether id can identify a request in a subject: as its own id, or as
// a name for a request without a usable id, such as a [SequenceID].
func IsName(id string) bool { return idForm(id) }

func idForm(id string) bool {
	if len(id) < 1 || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !alphanumeric(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// reservedID reports whether id has the form of [SequenceID].
func reservedID(id string) bool {
	digits, ok := strings.CutPrefix(id, "seq-")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// maxSourceBytes limits a source, because every result repeats it.
const maxSourceBytes = 2048

// checkSource accepts a URI-reference (RFC 3986), character by character: url.Parse
// alone would let spaces and control characters pass.
func checkSource(field, source string) error {
	if source == "" {
		return malformed(field, "must not be empty")
	}
	if len(source) > maxSourceBytes {
		return malformed(field, "must be at most %d bytes, not %d", maxSourceBytes, len(source))
	}
	for i, c := range []byte(source) {
		if c == '%' && i+2 < len(source) && isHex(source[i+1]) && isHex(source[i+2]) {
			continue
		}
		if !alphanumeric(c) && strings.IndexByte("-._~:/?#[]@!$&'()*+,;=", c) < 0 {
			return malformed(field, "must be a URI-reference, not %s", quote(source))
		}
	}
	if strings.HasPrefix(source, "/") && !strings.HasPrefix(source, "//") && !strings.ContainsAny(source, "%:[]") {
		return nil // a path of such characters can always be parsed
	}
	if _, err := url.Parse(source); err != nil {
		return malformed(field, "must be a URI-reference, not %s", quote(source))
	}
	return nil
}

// timeForm is RFC 3339, section 5.6. The time package accepts more, such as a comma instead of the point.
var timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// parseTime reads an RFC 3339 time, in which t and z may be lower case, and returns it in UTC.
func parseTime(field, value string) (time.Time, error) {
	upper := strings.ToUpper(value)
	t, err := time.Parse(time.RFC3339Nano, upper)
	if err != nil || !timeForm.MatchString(upper) {
		return time.Time{}, malformed(field, "must be an RFC 3339 time, not %s", quote(value))
	}
	t = t.UTC()
	return t, checkTime(field, t)
}

// checkTime refuses years that RFC 3339 cannot represent.
func checkTime(field string, t time.Time) error {
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return malformed(field, "must be between the years 0 and 9999")
	}
	return nil
}

// traceContext returns the distributed tracing extension, or empty strings if it is not
// a valid W3C Trace Context. An invalid trace must not stop a deletion.
func traceContext(parent, state string) (string, string) {
	const form = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if len(parent) != len(form) || parent[:2] == "ff" {
		return "", ""
	}
	for i := range len(parent) {
		if form[i] == '-' && parent[i] == '-' {
			continue
		}
		if c := parent[i]; form[i] == '-' || !isHex(c) || 'A' <= c && c <= 'F' {
			return "", ""
		}
	}
	if strings.Trim(parent[3:35], "0") == "" || strings.Trim(parent[36:52], "0") == "" {
		return "", ""
	}
	// W3C allows dropping a longer state, but not cutting it.
	if len(state) > 512 || strings.ContainsFunc(state, func(r rune) bool { return r < ' ' || r > '~' }) {
		state = ""
	}
	return parent, state
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
