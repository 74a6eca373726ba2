package events

import "slices"

// Outcome is the outcome of a request.
type Outcome string

// The outcomes. Only [AcceptedPending] is not final: another result follows it.
const (
	Deleted         Outcome = "deleted"          // the API confirmed the deletion
	AcceptedPending Outcome = "accepted-pending" // the API accepted the deletion and completes it later
	NotFound        Outcome = "not-found"        // the API has no such resource
	Invalid         Outcome = "invalid"          // the request violates a rule of the contract or of the API
	Failed          Outcome = "failed"           // Lethe gave up; see the error
)

// Outcomes returns all outcomes in a fixed order.
func Outcomes() []Outcome { return []Outcome{Deleted, AcceptedPending, NotFound, Invalid, Failed} }

// Known reports whether o is one of [Outcomes].
func (o Outcome) Known() bool { return slices.Contains(Outcomes(), o) }

// Final reports whether a result with this outcome is the last one of its request.
func (o Outcome) Final() bool { return o.Known() && o != AcceptedPending }

// EventType returns the CloudEvents type of a result with this outcome, such as
// "lethe.deletion.deleted.v1".
func (o Outcome) EventType() string { return "lethe.deletion." + string(o) + ".v1" }

// Code is the machine-readable reason of an [Invalid] or [Failed] result: 1 to 64 of a-z,
// 0-9 and -. Newer versions of Lethe may add codes. Treat an unknown code like its outcome.
type Code string

// The codes of [Invalid].
const (
	CodeMalformedEvent  Code = "malformed-event"  // not a valid and unambiguous event
	CodeUnknownTarget   Code = "unknown-target"   // data.target is not a known target
	CodeTargetMismatch  Code = "target-mismatch"  // data.target is not the subject's last token
	CodeInvalidResource Code = "invalid-resource" // a field of the resource is missing, wrong or unknown
	CodeIDReused        Code = "id-reused"        // the id was used before for another resource
	CodeRejectedByAPI   Code = "rejected-by-api"  // the API refused the request as invalid
)

// The codes of [Failed].
const (
	CodeRetriesExhausted Code = "retries-exhausted" // no usable answer within the time for retries
	CodeUnexpectedAnswer Code = "unexpected-answer" // an answer that is not in the API's documentation
	CodeRefusedByAPI     Code = "refused-by-api"    // the API refused this request alone (401 or 403), not the credential
)

// Codes returns all codes that this version sends, in a fixed order.
func Codes() []Code {
	return []Code{
		CodeMalformedEvent, CodeUnknownTarget, CodeTargetMismatch, CodeInvalidResource, CodeIDReused, CodeRejectedByAPI,
		CodeRetriesExhausted, CodeUnexpectedAnswer, CodeRefusedByAPI,
	}
}

// Outcome returns the outcome that a code belongs to, empty for an unknown code.
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
