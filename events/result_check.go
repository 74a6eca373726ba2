package events

import (
	"slices"
	"strings"
)

// check checks a result against the contract and for consistency. It accepts an unknown error code.
func (r Result) check() error {
	if !printableASCII(r.EventID) {
		return malformed("id", "must be printable ASCII and not empty")
	}
	if err := checkSource("source", r.Source); err != nil {
		return err
	}
	if r.Time.IsZero() {
		return malformed("time", "is missing")
	}
	if err := checkTime("time", r.Time); err != nil {
		return err
	}
	if !idForm(r.RequestID) {
		return malformed("data.request_id", "must be 1 to 64 of A-Z, a-z, 0-9, _ and -, not %s", quote(r.RequestID))
	}
	if r.RequestSource != "" {
		if err := checkSource("data.request_source", r.RequestSource); err != nil {
			return err
		}
	}
	if !r.Target.Known() {
		return unknownTarget(r.Target)
	}
	if !r.Outcome.Known() {
		return unknownOutcome(r.Outcome)
	}
	if r.Attempts < 0 {
		return malformed("data.attempts", "must not be negative")
	}
	if r.Resource != nil {
		if r.Resource.Target() != r.Target {
			return invalid(CodeInvalidResource, fieldData, "contains a resource of %s, not of %s", r.Resource.Target(), r.Target)
		}
		if err := r.Resource.Validate(); err != nil {
			return err
		}
	}
	for _, part := range []func() error{r.checkEvidence, r.checkExpectedBy, r.checkError} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (r Result) checkEvidence() error {
	if r.Outcome != Invalid && r.Resource == nil {
		return invalid(CodeInvalidResource, fieldData, "names no resource, but the outcome is not invalid")
	}
	if e := r.Evidence; e != nil {
		if e.Status != 0 && (e.Status < 100 || e.Status > 999) {
			return malformed("data.evidence.status", "must be an HTTP status or missing, not %d", e.Status)
		}
		if e.CallRequests < 0 {
			return malformed("data.evidence.call_requests", "must not be negative")
		}
		if err := checkTime("data.evidence.observed_at", e.ObservedAt); err != nil {
			return err
		}
	}
	if r.Outcome == Invalid || r.Outcome == Failed {
		return nil
	}
	if r.Attempts == 0 {
		return malformed("data.attempts", "must be at least 1 if the outcome is %s", r.Outcome)
	}
	if r.Evidence == nil || r.Evidence.Status == 0 || r.Evidence.ObservedAt.IsZero() {
		return malformed("data.evidence", "must have status and observed_at if the outcome is %s", r.Outcome)
	}
	return nil
}

func (r Result) checkExpectedBy() error {
	const field = "data.expected_by"
	if !r.ExpectedBy.IsZero() && r.Outcome != AcceptedPending {
		return malformed(field, "must not be set if the outcome is %s", r.Outcome)
	}
	return checkTime(field, r.ExpectedBy)
}

func (r Result) checkError() error {
	const field = "data.error"
	if r.Error == nil {
		if r.Outcome == Invalid || r.Outcome == Failed {
			return malformed(field, "is missing; it is required if the outcome is %s", r.Outcome)
		}
		return nil
	}
	if r.Outcome != Invalid && r.Outcome != Failed {
		return malformed(field, "must not be set if the outcome is %s", r.Outcome)
	}
	if o := r.Error.Code.Outcome(); o != r.Outcome && (o != "" || !codeForm(r.Error.Code)) {
		return malformed(field+".code", "must be a code of %s, not %s", r.Outcome, quote(string(r.Error.Code)))
	}
	if len(r.Error.IDs) == 0 {
		return nil
	}
	var own []int64
	if r.Resource != nil {
		own = r.Resource.BatchIDs()
	}
	for _, id := range r.Error.IDs {
		if !slices.Contains(own, id) {
			return invalid(CodeInvalidResource, field+".ids", "must contain only ids of the request, not %d", id)
		}
	}
	return nil
}

// codeForm reports whether a code has the form of Lethe's codes. An unknown one may come
// from a newer version.
func codeForm(c Code) bool {
	return idForm(string(c)) && !strings.ContainsFunc(string(c), func(r rune) bool { return 'A' <= r && r <= 'Z' || r == '_' })
}

func printableASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
