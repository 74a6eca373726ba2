package events

import (
	"cmp"
	"strconv"
	"strings"
)

// The streams that hold the subjects.
const (
	StreamRequests = "DELETION_REQUESTS" // deletions.requests.<target>
	StreamResults  = "DELETION_RESULTS"  // deletions.results.… and deletions.attempts.…
	StreamLater    = "DELETION_LATER"    // deletions.later.… and deletions.due.<target>; the worker's own
)

// RequestSubject is where requests for a target are published.
func RequestSubject(t Target) string { return "deletions.requests." + string(t) }

// ResultSubject is where the result of the request with this id and outcome stands.
func ResultSubject(t Target, id string, o Outcome) string {
	return "deletions.results." + string(t) + "." + id + "." + string(o)
}

// AttemptSubject is where the n-th attempt (from 1) of a request is recorded before
// its call.
func AttemptSubject(t Target, id string, n int) string {
	return "deletions.attempts." + string(t) + "." + id + "." + strconv.Itoa(n)
}

// LaterSubject is where the schedule of a request that waits stands, one a request.
func LaterSubject(t Target, id string) string {
	return "deletions.later." + string(t) + "." + id
}

// DueSubject is where the schedules of a target arrive when their time has come.
func DueSubject(t Target) string { return "deletions.due." + string(t) }

// ResultFilter is a filter for results; what is empty matches everything.
func ResultFilter(t Target, id string, o Outcome) string {
	return ResultSubject(cmp.Or(t, "*"), cmp.Or(id, "*"), cmp.Or(o, "*"))
}

// TargetOfSubject is the target in the subject of a request, its last token. It need
// not be a known one.
func TargetOfSubject(subject string) Target {
	return Target(subject[strings.LastIndexByte(subject, '.')+1:])
}

// SequenceID is the id under which a request appears whose own id cannot be used: the
// request's sequence on its stream. No request may call itself so.
func SequenceID(streamSeq uint64) string { return "seq-" + strconv.FormatUint(streamSeq, 10) }
