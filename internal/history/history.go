// Package history reads what is stored of one request, and describes its state in one
// sentence.
//
// A request is in up to three places: its records on DELETION_RESULTS, its next step as a
// schedule on DELETION_LATER, and, until it is acknowledged, its message on
// DELETION_REQUESTS or DELETION_LATER. [Reader] reads them, with a bound on each read.
// [Request.Stage] is a pure function of them and the time, and [Request.Sentence] is the
// stage in words.
//
// Read the files in this order:
//
//	history.go   what is known of a request
//	stage.go     its stage
//	sentence.go  the stage in words
//	read.go      reading its records, its schedule and its message
//	search.go    finding the message of a request without records
//	attention.go the newest failed requests, and the overdue ones
package history

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// MaxRecords is how many records of a request are read: its last ones.
const MaxRecords = 100

// Request is what is stored of a request.
type Request struct {
	ID       string
	Target   events.Target
	Source   string          // the system that requested the deletion; "" if unknown
	Resource events.Resource // nil if unknown
	Records  []Record        // the last [MaxRecords], oldest first
	Earlier  int             // records before those, which are not read
	Next     *Next           // its next step, nil if none is scheduled
	Message  *Message        // its message, nil if that is acknowledged or was not looked up
}

// Record is an attempt or a result.
type Record struct {
	ledger.Record
	Result  *events.Result // nil for an attempt
	TraceID string         // of W3C Trace Context, "" if there is none
	follows uint64         // the sequence of the record before, 0 for none
}

// Next is a scheduled step.
type Next struct {
	At       time.Time
	Progress ledger.Progress
	TraceID  string
}

// Message is the message of a request that is not acknowledged.
type Message struct {
	Stream   string
	Seq      uint64
	StoredAt time.Time
	// Taken is true if a worker has the message, or had it and returned it.
	Taken bool
	// Ahead is how many messages of the target wait before it, -1 if unknown.
	Ahead int
	// Invalid is why the event breaks the contract, nil if it does not.
	Invalid error
	TraceID string

	delivered uint64 // the last sequence that was delivered to the lane
	replays   uint64 // the sequence of the failed result that it asks to retry
}

// last is the last record, nil if there is none.
func (q *Request) last() *Record {
	if len(q.Records) == 0 {
		return nil
	}
	return &q.Records[len(q.Records)-1]
}

// found reports whether anything is stored of the request.
func (q *Request) found() bool { return len(q.Records) > 0 || q.Next != nil || q.Message != nil }

// Attempts is how many calls were made, or recorded before they were made.
func (q *Request) Attempts() int {
	switch {
	case q.last() != nil:
		return q.last().Progress.Attempts
	case q.Next != nil:
		return q.Next.Progress.Attempts
	default:
		return 0
	}
}

// TraceID is the newest trace id that is stored of the request, "" if there is none.
func (q *Request) TraceID() string {
	if q.Next != nil && q.Next.TraceID != "" {
		return q.Next.TraceID
	}
	for _, r := range slices.Backward(q.Records) {
		if r.TraceID != "" {
			return r.TraceID
		}
	}
	if q.Message != nil {
		return q.Message.TraceID
	}
	return ""
}

// traceID is the trace id in a message's headers, or in the extension of its event.
func traceID(header nats.Header, event events.Request) string {
	w3c := propagation.TraceContext{}
	for _, carrier := range []ledger.HeaderCarrier{ledger.HeaderCarrier(header), {"traceparent": {event.TraceParent}}} {
		span := trace.SpanContextFromContext(w3c.Extract(noContext, carrier))
		if span.HasTraceID() {
			return span.TraceID().String()
		}
	}
	return ""
}
