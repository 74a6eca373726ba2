package consumer

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// History is what the earlier steps of a request left behind. It travels in the
// headers of the scheduled message and stands in those of each link of the
// chain, so that whoever comes next knows as much.
type History struct {
	// Attempts counts the calls made for the request, over its whole life.
	Attempts int
	// Since is where the time that MaxElapsed limits begins: the first attempt,
	// or a confirmation's due time. Zero when no attempt counts yet.
	Since time.Time
	// Unanswered is true when an earlier attempt may have deleted the resource
	// without telling us so.
	Unanswered bool
	// Confirming is true once the API accepted the deletion for later.
	Confirming bool
	// Seq is the sequence of the last link of the chain that this history knows,
	// 0 for an empty chain. What is published next must follow it.
	Seq uint64
	// Arrival is the sequence that the request has on DELETION_REQUESTS. It
	// names a request that can't bear its own id.
	Arrival uint64
}

// The headers that carry a History. Lethe-Expected is the sequence that the
// next link of the chain is expected to follow.
const (
	headerAttempt    = "Lethe-Attempt"
	headerSince      = "Lethe-First-Attempt"
	headerUnanswered = "Lethe-Unanswered"
	headerExpected   = "Lethe-Expected"
	headerStep       = "Lethe-Step"
	headerArrival    = "Lethe-Request-Sequence"
)

const (
	stepDelete  = "delete"
	stepConfirm = "confirm"
)

// write puts h into headers, replacing what stood there.
func (h History) write(to nats.Header) {
	step := stepDelete
	if h.Confirming {
		step = stepConfirm
	}
	to.Set(headerAttempt, strconv.Itoa(h.Attempts))
	to.Set(headerUnanswered, strconv.FormatBool(h.Unanswered))
	to.Set(headerExpected, strconv.FormatUint(h.Seq, 10))
	to.Set(headerStep, step)
	to.Set(headerArrival, strconv.FormatUint(h.Arrival, 10))
	to.Del(headerSince)
	if !h.Since.IsZero() {
		to.Set(headerSince, h.Since.UTC().Format(time.RFC3339Nano))
	}
}

// readHistory reads the headers that write wrote. A header that is missing or
// unreadable counts as its zero value: then the request looks younger than it
// is, the chain refuses what does not follow, and the link there tells the rest.
func readHistory(from nats.Header) History {
	var h History
	h.Attempts, _ = strconv.Atoi(from.Get(headerAttempt))
	h.Attempts = max(h.Attempts, 0)
	h.Since, _ = time.Parse(time.RFC3339Nano, from.Get(headerSince))
	h.Unanswered, _ = strconv.ParseBool(from.Get(headerUnanswered))
	h.Confirming = from.Get(headerStep) == stepConfirm
	h.Seq, _ = strconv.ParseUint(from.Get(headerExpected), 10, 64)
	h.Arrival, _ = strconv.ParseUint(from.Get(headerArrival), 10, 64)
	return h
}

// attempt returns h with one more attempt, begun now.
func (h History) attempt(now time.Time) History {
	h.Attempts++
	if h.Since.IsZero() {
		h.Since = now
	}
	return h
}

// uncounted returns h without its last attempt, for which no call was made.
func (h History) uncounted() History {
	h.Attempts--
	return h
}

// elapsed is how long the request has been tried. A clock that was set back
// gives 0, not a negative time.
func (h History) elapsed(now time.Time) time.Duration {
	if h.Since.IsZero() {
		return 0
	}
	return max(now.Sub(h.Since), 0)
}
