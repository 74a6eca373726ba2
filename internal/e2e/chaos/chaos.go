// Package chaos proves Lethe's promises by breaking everything around it: the
// real binary, a real NATS server and the sandbox run as processes of their own
// while requests of every kind flow and workers and servers are killed, stopped
// and cut off, at moments that a seed decides. Afterwards an auditor reads the
// whole results stream and holds it against what was published and against the
// API's own record of its calls. It believes nothing that a worker says.
//
// The way through a trial:
//
//	workload.go what is published
//	world.go    the processes, and what is done with their streams
//	faults.go   what befalls them
//	record.go   what is left afterwards
//	audit.go    what of it breaks a promise
package chaos

import (
	"fmt"

	"github.com/lethe-dev/lethe/events"
)

// Publication is one event that was published.
type Publication struct {
	// Sequence is the event's on DELETION_REQUESTS.
	Sequence uint64
	// Target is the subject's last token.
	Target events.Target
	// ID is the request's; empty where the event has none that can be read.
	ID string
	// Resource is what the event asks to delete; nil if it is malformed.
	Resource events.Resource
	// Code is what a malformed event must be refused with.
	Code events.Code
	// Twice is true if the event may be on the stream a second time, because the
	// answer to its publish was lost.
	Twice bool
}

// Violation is one broken promise.
type Violation struct {
	Promise string // which one, in few words
	Request string // the request's target and name
	Detail  string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s: %s", v.Promise, v.Request, v.Detail)
}
