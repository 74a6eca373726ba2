package events

import "slices"

// Outcome is what a result says became of a request.
type Outcome string

// The outcomes. Only [AcceptedPending] is not final: another result follows it.
const (
	Deleted         Outcome = "deleted"          // the API confirmed the deletion
	AcceptedPending Outcome = "accepted-pending" // the API has begun to delete and needs time
	NotFound        Outcome = "not-found"        // the API had nothing of that name
	Invalid         Outcome = "invalid"          // the request broke a rule, ours or the API's
	Failed          Outcome = "failed"           // Lethe gave up; see the error
)

// Outcomes returns all outcomes, always in the same order.
func Outcomes() []Outcome { return []Outcome{Deleted, AcceptedPending, NotFound, Invalid, Failed} }

// Known reports whether o is one of [Outcomes].
func (o Outcome) Known() bool { return slices.Contains(Outcomes(), o) }

// Final reports whether no other result follows one with this outcome.
func (o Outcome) Final() bool { return o.Known() && o != AcceptedPending }

// EventType is the CloudEvents type of a result with this outcome, such as
// "lethe.deletion.deleted.v1".
func (o Outcome) EventType() string { return "lethe.deletion." + string(o) + ".v1" }

// Code says why a result is [Invalid] or [Failed], for programs to act upon: 1 to 64 of a-z,
// 0-9 and -. A newer Lethe may send others than these. Treat an unknown one by the result's outcome.
type Code string

// The codes of [Invalid].
const (
	CodeMalformedEvent  Code = "malformed-event"  // not an event that can be read without doubt
	CodeUnknownTarget   Code = "unknown-target"   // data.target names no target
	CodeTargetMismatch  Code = "target-mismatch"  // data.target is not the subject's last token
	CodeInvalidResource Code = "invalid-resource" // a field of the resource is missing, wrong or unknown
	CodeIDReused        Code = "id-reused"        // the id was used before for another resource
	CodeRejectedByAPI   Code = "rejected-by-api"  // the API refused the request as invalid
)

// The codes of [Failed].
const (
	CodeRetriesExhausted Code = "retries-exhausted" // no usable answer within the time for retries
	CodeUnexpectedAnswer Code = "unexpected-answer" // an answer that the API does not document
	CodeRefusedByAPI     Code = "refused-by-api"    // the API refused this request alone (401 or 403), not the credential
)

// Codes returns all codes that this version sends, always in the same order.
func Codes() []Code {
	return []Code{
		CodeMalformedEvent, CodeUnknownTarget, CodeTargetMismatch, CodeInvalidResource, CodeIDReused, CodeRejectedByAPI,
		CodeRetriesExhausted, CodeUnexpectedAnswer, CodeRefusedByAPI,
	}
}

// Outcome is the outcome that a code belongs to, empty for an unknown code.
func (c Code) Outcome() Outcome {
	switch c {
	case CodeMalformedEvent, CodeUnknownTarget, CodeTargetMismatch, CodeInvalidResource, CodeIDReused, CodeRejectedByAPI:
		return Invalid
	case CodeRetriesExhausted, CodeUnexpectedAnswer, CodeRefusedByAPI:
		return Failed
	}
	return ""
}

func unknownOutcome(o Outcome) *InvalidError {
	return malformed("data.outcome", "must be one of %q, not %s", Outcomes(), quote(string(o)))
}
