// Package deleter makes calls to deletion APIs: one HTTP request a call, and a
// strict reading of its answer.
//
// A [Deleter] is one API; each package below this one implements one. This package
// holds what they share: the [Client], which trusts no server (limits, timeouts, no
// redirects, nothing sent twice), the [Credential], which appears in no text, and
// the [Answer], which also says whether a call without an answer may have deleted.
package deleter

import (
	"context"
	"net/http"
	"time"

	"github.com/lethe-dev/lethe/events"
)

// Deleter makes one HTTP call for a resource. It returns no errors: the Answer says
// what happened, failures included. It is safe for concurrent use.
type Deleter interface {
	Delete(ctx context.Context, res events.Resource) Answer
}

// Verdict is what an answer means for the request.
type Verdict string

const (
	// Deleted: the API's documented answer for a deletion that is done.
	Deleted Verdict = "deleted"
	// AcceptedPending: the API's documented answer for a deletion that has begun.
	AcceptedPending Verdict = "accepted-pending"
	// NotFound: the API's documented answer for a resource that does not exist.
	NotFound Verdict = "not-found"
	// Invalid: the API refuses the request as it is.
	Invalid Verdict = "invalid"
	// CredentialRefused: the API refuses the credential, or it cannot be read.
	CredentialRefused Verdict = "credential-refused"
	// Retry: no answer, or an answer that says nothing about the resource.
	Retry Verdict = "retry"
)

// Verdicts returns all verdicts.
func Verdicts() []Verdict {
	return []Verdict{Deleted, AcceptedPending, NotFound, Invalid, CredentialRefused, Retry}
}

// Answer is the result of one call.
type Answer struct {
	Verdict Verdict
	// Status is the HTTP status, 0 when no answer came.
	Status int
	// Message is the API's message, or what went wrong: one line of at most
	// [MaxMessage] bytes, without the credential.
	Message string
	// APIRequestID is the API's own id of the request, "" where it gives none.
	APIRequestID string
	// CallID is a UUIDv7, new for each call.
	CallID string
	// ObservedAt is when the answer came, in UTC.
	ObservedAt time.Time
	// RetryAfter is how long the API asks to wait, 0 if it does not ask. It has no
	// upper bound.
	RetryAfter time.Duration
	// Quota is what the API says about its rate limit.
	Quota Quota
	// ExpectedBy, on AcceptedPending, is when the API says the removal is complete.
	ExpectedBy time.Time
	// Duration is how long the call took. The caller of Delete measures it.
	Duration time.Duration
	// Credential is the [Credential.Version] that the call was made with, 0 if no
	// call was made.
	Credential int
	// Requests is how many requests the call was made for; 0 counts as 1. The caller
	// of Delete sets it.
	Requests int
	// Refused are the ids that the API named as invalid, where it named any.
	Refused []int64
	// MayHaveDeleted, on Retry, is true unless it is certain that the deletion did
	// not take place. A later "not found" may then be the result of this call.
	MayHaveDeleted bool
	// UnknownStatus, on Retry, is true if the API does not document the Status. It may
	// concern only one resource of the call, and may be permanent.
	UnknownStatus bool
}

// Divisible reports whether the answer to a shared call can be about some of its requests
// only: then calls go on until each request has an answer of its own. A status from 400
// to 499 that is about the caller, the credential or the rate is the same for every
// request.
func (a Answer) Divisible() bool {
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return a.Verdict == Invalid || a.Verdict == Retry && a.Status >= 400 && a.Status < 500
}
