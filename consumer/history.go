package consumer

import (
	"math"
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
	// Waits counts the waits that were scheduled, which the next one grows with. A
	// call for many can be several attempts, and is followed by one wait.
	Waits int
	// Since is the time of the first attempt, or a confirmation's due time. Zero
	// when no attempt was made yet.
	Since time.Time
	// Elapsed is the time that MaxElapsed limits: what was scheduled as waiting
	// plus the calls that ended in retry. How late a step was taken is not in it.
	Elapsed time.Duration
	// Undocumented is the part of such time that followed undocumented answers to
	// calls for this request alone, 0 if there was none.
	Undocumented time.Duration
	// Alone is true if the request must not share a call with others.
	Alone bool
	// Refused is when the API last refused the credential in a call for this
	// request alone, by the server's clock. Zero when the last answer was another.
	Refused time.Time
	// RefusedWait is what was scheduled as waiting after that, plus its call. It
	// becomes part of Elapsed once the credential is known to be good.
	RefusedWait time.Duration
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
	headerAttempt      = "Lethe-Attempt"
	headerSince        = "Lethe-First-Attempt"
	headerWaits        = "Lethe-Waits"
	headerElapsed      = "Lethe-Elapsed"
	headerUndocumented = "Lethe-Elapsed-Undocumented"
	headerAlone        = "Lethe-Alone"
	headerRefused      = "Lethe-Refused"
	headerRefusedWait  = "Lethe-Refused-Wait"
	headerUnanswered   = "Lethe-Unanswered"
	headerExpected     = "Lethe-Expected"
	headerStep         = "Lethe-Step"
	headerArrival      = "Lethe-Request-Sequence"
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
	to.Set(headerWaits, strconv.Itoa(h.Waits))
	to.Set(headerElapsed, h.Elapsed.String())
	writeTime(to, headerSince, h.Since)
	writeTime(to, headerRefused, h.Refused)
	writeDuration(to, headerUndocumented, h.Undocumented)
	writeDuration(to, headerRefusedWait, h.RefusedWait)
	to.Del(headerAlone)
	if h.Alone {
		to.Set(headerAlone, "true")
	}
}

// writeTime sets a header, or removes it if there is no time.
func writeTime(to nats.Header, name string, t time.Time) {
	to.Del(name)
	if !t.IsZero() {
		to.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

// writeDuration sets a header, or removes it if there is nothing to say.
func writeDuration(to nats.Header, name string, d time.Duration) {
	to.Del(name)
	if d != 0 {
		to.Set(name, d.String())
	}
}

// readDuration returns 0 for what is missing, unreadable or negative.
func readDuration(from nats.Header, name string) time.Duration {
	d, _ := time.ParseDuration(from.Get(name))
	return max(d, 0)
}

// readHistory reads the headers that write wrote. A header that is missing or
// unreadable counts as its zero value: then the request looks younger than it
// is, the chain refuses what does not follow, and the link there tells the rest.
// An earlier version of Lethe wrote no elapsed time: it begins with the next wait.
func readHistory(from nats.Header) History {
	var h History
	h.Attempts, _ = strconv.Atoi(from.Get(headerAttempt))
	h.Attempts = max(h.Attempts, 0)
	h.Since, _ = time.Parse(time.RFC3339Nano, from.Get(headerSince))
	if h.Waits, _ = strconv.Atoi(from.Get(headerWaits)); from.Get(headerWaits) == "" {
		h.Waits = h.Attempts // of an earlier version of Lethe
	}
	h.Waits = max(h.Waits, 0)
	h.Elapsed = readDuration(from, headerElapsed)
	h.Undocumented = readDuration(from, headerUndocumented)
	h.Alone, _ = strconv.ParseBool(from.Get(headerAlone))
	h.Refused, _ = time.Parse(time.RFC3339Nano, from.Get(headerRefused))
	h.RefusedWait = readDuration(from, headerRefusedWait)
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
	if h.Attempts--; h.Attempts == 0 && !h.Confirming {
		h.Since = time.Time{}
	}
	return h
}

// suspect says that an API has refused this very request before, in a way that
// may be about it alone. What it is answered says little about the lane then.
func (h History) suspect() bool { return !h.Refused.IsZero() || h.Undocumented > 0 }

// single says that the request must not share a call with others.
func (h History) single() bool { return h.Alone || h.suspect() }

// tried returns h with the time of a call that ended in retry, and the wait that
// is scheduled after it.
func (h History) tried(took, wait time.Duration) History {
	h.Elapsed = sum(h.Elapsed, took, wait)
	h.Waits++
	return h
}

// sum adds durations, none of which is negative, up to the longest.
func sum(all ...time.Duration) (total time.Duration) {
	for _, d := range all {
		if total += d; total < 0 {
			return math.MaxInt64
		}
	}
	return total
}
