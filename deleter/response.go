package deleter

import (
	"cmp"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Response is a whole HTTP answer, or the reason why there is none.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	// JSON is true if the media type says so (RFC 6839's +json included).
	JSON bool
	// Written is true if any of the request may have reached the server.
	Written bool
	// Err is what went wrong: no answer, or one that could not be read whole.
	Err error
}

// ReadJSON reads a body that must be one JSON value without repeated names and
// with valid UTF-8 (RFC 7493). Members that v does not have are passed over:
// APIs grow.
func ReadJSON(r Response, v any) error {
	if !r.JSON {
		return errors.New("the answer is not JSON")
	}
	if err := json.Unmarshal(r.Body, v); err != nil {
		return errors.New("the answer is not the documented JSON")
	}
	return nil
}

// Text is what a member of an answer says for people: a string as it reads, and
// anything else as JSON. Either way nothing stays escaped that needs not be, so
// that a credential is found in it however the API wrote it.
func Text(value jsontext.Value) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	plain := value.Clone()
	if len(plain) == 0 || plain.Canonicalize() != nil { // RFC 8785
		return ""
	}
	return string(plain)
}

// readGeneral reads the answers that mean the same whichever API gives them.
// general is false for those that the API's own documents explain.
func readGeneral(r Response) (a Answer, general bool) {
	switch {
	case r.Status == 0:
		return Answer{Verdict: Retry, Message: r.Err.Error(), MayHaveDeleted: r.Written}, true
	case r.Status == http.StatusUnauthorized, r.Status == http.StatusForbidden:
		return Answer{Verdict: Hold, Message: explain(r)}, true
	case r.Status == http.StatusRequestTimeout, r.Status == http.StatusTooEarly, r.Status == http.StatusTooManyRequests:
		return Answer{Verdict: Retry, Message: explain(r)}, true
	case r.Status >= 500:
		return Answer{Verdict: Retry, Message: explain(r), MayHaveDeleted: true}, true
	case r.Status >= 300 && r.Status < 400:
		return Answer{Verdict: Retry, Message: fmt.Sprintf("redirected with %d, which is not followed", r.Status)}, true
	case r.Err != nil:
		return Undocumented(r, r.Err.Error()), true
	default:
		return Answer{}, false
	}
}

// Undocumented is the answer to a call that got a response which the API's
// documents do not know, though its status is one of theirs: perhaps a proxy's.
// A 2xx may well come from a deletion that was done.
func Undocumented(r Response, why string) Answer {
	return Answer{Verdict: Retry, Message: why, MayHaveDeleted: r.Status >= 200 && r.Status < 300}
}

// Unknown is the answer to a call that got a status which no document knows. A
// 2xx among them is tried again, as any that is not the documented one.
func Unknown(r Response) Answer {
	if r.Status >= 200 && r.Status < 300 {
		return Undocumented(r, explain(r)+", which is not documented")
	}
	return Answer{Verdict: Unexpected, Message: explain(r)}
}

// explain says what came: the status, and the API's words where it has some.
func explain(r Response) string {
	said := fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status))
	var body struct {
		Error   jsontext.Value `json:"error"`
		Message jsontext.Value `json:"message"`
		Detail  jsontext.Value `json:"detail"`
	}
	if r.Err != nil || ReadJSON(r, &body) != nil {
		return strings.TrimSpace(said)
	}
	if words := cmp.Or(Text(body.Error), Text(body.Message), Text(body.Detail)); words != "" {
		said += ": " + words
	}
	return said
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}
