// Package chaos tests Lethe's guarantees under faults. The production binary, a NATS
// server and the fake APIs run as separate processes. A workload of all kinds of
// requests is published while workers and servers are killed, stopped and
// disconnected, at times that a seed decides. Then an audit compares the whole
// results stream with the published events and with the API's own journal of its
// calls. The audit uses nothing that a worker reports about itself.
//
// A trial in order:
//
//	workload.go     what is published
//	environment.go  the processes
//	worker.go       workers and their proxies
//	queues.go       publishing, and waiting for empty queues
//	faults.go       the faults injected into them
//	pause.go        lanes that are paused for a while
//	observe.go      what is read after the trial
//	audit.go        which observations violate a guarantee
package chaos

import (
	"fmt"

	"github.com/lethe-dev/lethe/events"
)

// Publication is one event that was published.
type Publication struct {
	// Sequence is the event's sequence on DELETION_REQUESTS.
	Sequence uint64
	// Target is the last token of the subject.
	Target events.Target
	// ID is the request's id, empty if the event has no readable id.
	ID string
	// Resource is what the event asks to delete, nil if the event is malformed.
	Resource events.Resource
	// Code is the error code that the result of a malformed event must have.
	Code events.Code
	// Twice is true if the event may be stored twice, because the acknowledgement
	// of its publish was lost.
	Twice bool
}

// Violation is one violated guarantee.
type Violation struct {
	Promise string // one of the constants, such as [Missing]
	Request string // target and id
	Detail  string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s: %s", v.Promise, v.Request, v.Detail)
}
