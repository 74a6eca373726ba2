// Package deleter says what a deletion API is to Lethe: something that makes one
// HTTP call and whose answer is read strictly.
//
// A [Deleter] stands for one API; the packages below this one are one each. What
// all share is here: the [Client] with its manners towards servers that nobody
// trusts (limits, time-outs, no redirects, nothing sent twice), the [Credential]
// that shows in no text, and the [Answer] that says not only what the API said
// but also whether the deletion may have taken place unsaid.
package deleter

import (
	"context"
	"net/http"
	"time"

	"github.com/lethe-dev/lethe/events"
)

// Deleter makes one HTTP call for a resource. What happened is the Answer,
// whatever it was; a Deleter has no errors. It is safe for concurrent use.
type Deleter interface {
	Delete(ctx context.Context, res events.Resource) Answer
}

// Verdict is what an answer means for the request.
type Verdict string

const (
	// Deleted: the API's documented answer for a deletion that is done.
	Deleted Verdict = "deleted"
	// AcceptedPending: the API's documented answer for one that has begun.
	AcceptedPending Verdict = "accepted-pending"
	// NotFound: the API's documented answer for a resource that is not there.
	NotFound Verdict = "not-found"
	// Invalid: the API refuses the request as it is.
	Invalid Verdict = "invalid"
	// Hold: the credential is refused, so no call of this kind can succeed.
	Hold Verdict = "hold"
	// Retry: no answer, or none that says anything about the resource.
	Retry Verdict = "retry"
)

// Answer is what came of one call.
type Answer struct {
	Verdict Verdict
	// Status is the HTTP status, 0 when no answer came.
	Status int
	// Message is the API's own words or what went wrong: one line, at most
	// [MaxMessage] bytes, without the credential.
	Message string
	// APIRequestID is what the API calls the request, where it says so.
	APIRequestID string
	// CallID is a UUIDv7, new for each call.
	CallID string
	// ObservedAt is when the answer came, in UTC.
	ObservedAt time.Time
	// RetryAfter is how long the API asks to wait, 0 when it does not. It is not
	// capped.
	RetryAfter time.Duration
	// Quota is what the API says of its rate limit.
	Quota Quota
	// ExpectedBy, on AcceptedPending, is when the API says the removal is complete.
	ExpectedBy time.Time
	// Took is how long the call took. The caller of Delete measures it.
	Took time.Duration
	// Credential is the [Credential.Version] that the call was made with, 0 if no
	// call was made.
	Credential int
	// Requests is how many requests the call was made for, where that was more
	// than one. Whoever puts them together counts them.
	Requests int
	// Refused are the ids that the API named as invalid, where it named any.
	Refused []int64
	// MayHaveDeleted, on Retry, is true unless it is certain that the deletion did
	// not take place. A later "not found" may then be our own doing.
	MayHaveDeleted bool
	// UnknownStatus, on Retry, is true if no document names the Status. It may be
	// about one resource of the call only, and the API may give it for good.
	UnknownStatus bool
}

// Divisible says that the answer to a call for many requests can be about some of
// them only: each must be called for until it has an answer of its own. A status
// from 400 to 499 that is about the caller, the credential or the rate is the same
// for every request.
func (a Answer) Divisible() bool {
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return a.Verdict == Invalid || a.Verdict == Retry && a.Status >= 400 && a.Status < 500
}
