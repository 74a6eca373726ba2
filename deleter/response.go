package deleter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
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

// readGeneral reads the answers that mean the same for all APIs. general is false
// for those that the API's own documents explain.
func readGeneral(r Response) (a Answer, general bool) {
	switch {
	case r.Status == 0:
		return Answer{Verdict: Retry, Message: r.Err.Error(), MayHaveDeleted: r.Written}, true
	case r.Status < 200 || r.Status >= 600:
		// Of no class of HTTP, or 101, after which the request is answered in another protocol
		// (RFC 9110, section 15.2.2).
		return Answer{Verdict: Retry, Message: fmt.Sprintf("answered with the status %d, which is not a final status", r.Status), MayHaveDeleted: true, UnknownStatus: true}, true
	case r.Status == http.StatusUnauthorized, r.Status == http.StatusForbidden:
		return Answer{Verdict: CredentialRefused, Message: explain(r)}, true
	case slices.Contains(notProcessed, r.Status):
		return Answer{Verdict: Retry, Message: explain(r)}, true
	case r.Status >= 500:
		return Answer{Verdict: Retry, Message: explain(r), MayHaveDeleted: true}, true
	case r.Status >= 300 && r.Status < 400:
		// 303 says that the request was performed (RFC 9110, section 15.4.4).
		return Answer{
			Verdict: Retry, Message: fmt.Sprintf("redirected with %d, which is not followed", r.Status), MayHaveDeleted: r.Status == http.StatusSeeOther,
		}, true
	case r.Err != nil:
		return Undocumented(r, fmt.Sprintf("%d, but %s", r.Status, r.Err)), true
	default:
		return Answer{}, false
	}
}

// notProcessed are the statuses of a server, or of a proxy before it, that did not
// process the request (RFC 9110, section 15.5; RFC 8470; RFC 6585).
var notProcessed = []int{
	http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests,
}

// Undocumented is the answer to a call whose response has a documented status, but
// not the documented content: it may be a proxy's. A 2xx may have deleted.
func Undocumented(r Response, reason string) Answer {
	return Answer{Verdict: Retry, Message: reason, MayHaveDeleted: r.succeeded()}
}

// Unknown is the answer to a call that got an undocumented status. A 2xx is not
// marked as such: the deletion may be done, and a documented answer can follow.
func Unknown(r Response) Answer {
	if r.succeeded() {
		return Undocumented(r, explain(r)+", which is not documented")
	}
	return Answer{Verdict: Retry, Message: explain(r), UnknownStatus: true}
}

func (r Response) succeeded() bool { return r.Status >= 200 && r.Status < 300 }

// explain returns the status and, if there is one, the API's message.
func explain(r Response) string {
	status := strings.TrimSpace(fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status)))
	if r.Err != nil {
		return status
	}
	o, err := ReadObject(r)
	if err != nil {
		return status
	}
	words := o.Message()
	switch name := http.StatusText(r.Status); {
	case words == "" || strings.EqualFold(strings.TrimRight(words, "."), name):
		return status // many APIs only repeat the status
	case strings.HasPrefix(words, status):
		return words
	default:
		return status + ": " + words
	}
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}

// unanswered says why a call got no answer.
func unanswered(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the connection was closed without an answer (%w)", err)
	}
	return plain(err)
}

// plain replaces the errors of a context by what they mean for a call.
func plain(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no complete answer within the timeout")
	case errors.Is(err, context.Canceled):
		return errors.New("the call was canceled")
	default:
		return err
	}
}
