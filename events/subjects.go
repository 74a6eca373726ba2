package events

import (
	"cmp"
	"strconv"
)

// The streams of the subjects.
const (
	StreamRequests = "DELETION_REQUESTS" // deletions.requests.<target>
	StreamResults  = "DELETION_RESULTS"  // deletions.results.… and deletions.attempts.…
	StreamLater    = "DELETION_LATER"    // deletions.later.… and deletions.due.<target>; for workers only
)

// RequestSubject returns the subject for requests of a target.
func RequestSubject(t Target) string { return "deletions.requests." + string(t) }

// ResultSubject returns the subject of a result with this request id and outcome.
func ResultSubject(t Target, id string, o Outcome) string {
	return "deletions.results." + string(t) + "." + id + "." + string(o)
}

// AttemptSubject returns the subject of the n-th attempt (from 1) of a request. An
// attempt is recorded before its call.
func AttemptSubject(t Target, id string, n int) string {
	return "deletions.attempts." + string(t) + "." + id + "." + strconv.Itoa(n)
}

// LaterSubject returns the subject of a waiting request's schedule. A request has at most one.
func LaterSubject(t Target, id string) string {
	return "deletions.later." + string(t) + "." + id
}

// DueSubject returns the subject to which the schedules of a target are published when they are due.
func DueSubject(t Target) string { return "deletions.due." + string(t) }

// ResultFilter returns a subject filter for results. Empty arguments match everything.
func ResultFilter(t Target, id string, o Outcome) string {
	return ResultSubject(cmp.Or(t, "*"), cmp.Or(id, "*"), cmp.Or(o, "*"))
}

// SequenceID returns the id for a request without a usable id: its sequence in the
// stream. Requests must not use such ids themselves.
func SequenceID(streamSeq uint64) string { return "seq-" + strconv.FormatUint(streamSeq, 10) }
