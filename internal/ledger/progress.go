package ledger

import (
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Progress is the state of a request after its earlier steps. It is a value: a step takes
// one and returns one. It travels in the headers of the scheduled message and of each
// record, so that the next worker knows as much.
type Progress struct {
	// Attempts counts the calls made for the request, over its whole life.
	Attempts int
	// Waits counts the scheduled waits, with which the next one grows. A shared call can
	// be several attempts, and is followed by one wait.
	Waits int
	// FirstAttempt is the time of the first attempt, or a confirmation's due time. Zero
	// when no attempt was made yet.
	FirstAttempt time.Time
	// Elapsed is the time that MaxElapsed limits: the scheduled waits plus the durations
	// of calls that ended in retry. Delays beyond the schedule do not count.
	Elapsed time.Duration
	// Undocumented is the part of such time that followed undocumented answers to
	// calls for this request alone, 0 if there was none.
	Undocumented time.Duration
	// Alone is true if the request must not share a call with others.
	Alone bool
	// Refused is when the API last refused the credential in a call for this
	// request alone, by the server's clock. Zero when the last answer was another.
	Refused time.Time
	// RefusedWait is the wait that was scheduled after that, plus the duration of the
	// call. It becomes part of Elapsed once the credential is known to be good.
	RefusedWait time.Duration
	// MayHaveDeleted is true when an earlier attempt may have deleted the resource
	// without an answer that says so.
	MayHaveDeleted bool
	// AwaitingRemoval is true once the API accepted the deletion for later.
	AwaitingRemoval bool
	// Seq is the sequence of the last record that this progress knows, 0 for none.
	// The next record must follow it.
	Seq uint64
	// RequestSeq is the sequence that the request has on DELETION_REQUESTS. It names the
	// result of a request whose own id cannot be used.
	RequestSeq uint64
	// Answer is what the API answered to the last attempt that is over.
	Answer Answer
	// StoredAt is when the request was stored, by the server's clock. Schedules carry it,
	// records do not; zero where an earlier version of Lethe wrote the schedule.
	StoredAt time.Time
}

// The headers that carry a Progress. Lethe-Expected is the sequence that the
// next record is expected to follow.
const (
	headerAttempt        = "Lethe-Attempt"
	headerFirstAttempt   = "Lethe-First-Attempt"
	headerWaits          = "Lethe-Waits"
	headerElapsed        = "Lethe-Elapsed"
	headerUndocumented   = "Lethe-Elapsed-Undocumented"
	headerAlone          = "Lethe-Alone"
	headerRefused        = "Lethe-Refused"
	headerRefusedWait    = "Lethe-Refused-Wait"
	headerMayHaveDeleted = "Lethe-Unanswered"
	headerExpected       = "Lethe-Expected"
	headerStep           = "Lethe-Step"
	headerRequestSeq     = "Lethe-Request-Sequence"
	headerAnswer         = "Lethe-Answer"
	headerStored         = "Lethe-Stored"
)

const (
	stepDelete  = "delete"
	stepConfirm = "confirm"
)

// Write puts p into headers, replacing what stood there.
func (p Progress) Write(to nats.Header) { p.write(&headerWriter{Header: to}) }

func (p Progress) write(to *headerWriter) {
	step := stepDelete
	if p.AwaitingRemoval {
		step = stepConfirm
	}
	to.Set(headerAttempt, strconv.Itoa(p.Attempts))
	to.Set(headerMayHaveDeleted, strconv.FormatBool(p.MayHaveDeleted))
	to.Set(headerExpected, strconv.FormatUint(p.Seq, 10))
	to.Set(headerStep, step)
	to.Set(headerRequestSeq, strconv.FormatUint(p.RequestSeq, 10))
	to.Set(headerWaits, strconv.Itoa(p.Waits))
	to.Set(headerElapsed, p.Elapsed.String())
	writeTime(to, headerFirstAttempt, p.FirstAttempt)
	writeTime(to, headerRefused, p.Refused)
	writeTime(to, headerStored, p.StoredAt)
	writeDuration(to, headerUndocumented, p.Undocumented)
	writeDuration(to, headerRefusedWait, p.RefusedWait)
	p.Answer.write(to)
	to.Del(headerAlone)
	if p.Alone {
		to.Set(headerAlone, "true")
	}
}

// writeTime sets a header, or removes it if there is no time.
func writeTime(to *headerWriter, name string, t time.Time) {
	to.Del(name)
	if !t.IsZero() {
		to.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

// writeDuration sets a header, or removes it if there is nothing to say.
func writeDuration(to *headerWriter, name string, d time.Duration) {
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

// Expected returns the sequence of the record that a message expects to follow, 0 if
// it names none: a publisher's request names one where it replays a failure.
func Expected(from nats.Header) uint64 {
	value := from.Get(headerExpected)
	if value == "" {
		return 0
	}
	seq, _ := strconv.ParseUint(value, 10, 64)
	return seq
}

// ReadProgress reads the headers that [Progress.Write] wrote. A header that is missing or
// unreadable counts as its zero value. The request then looks younger than it is; the
// stream refuses a record that does not follow the last one, which supplies the rest. An
// earlier version of Lethe wrote no elapsed time: it begins with the next wait.
func ReadProgress(from nats.Header) Progress {
	var p Progress
	p.Attempts, _ = strconv.Atoi(from.Get(headerAttempt))
	p.Attempts = max(p.Attempts, 0)
	p.FirstAttempt, _ = time.Parse(time.RFC3339Nano, from.Get(headerFirstAttempt))
	if p.Waits, _ = strconv.Atoi(from.Get(headerWaits)); from.Get(headerWaits) == "" {
		p.Waits = p.Attempts // of an earlier version of Lethe
	}
	p.Waits = max(p.Waits, 0)
	p.Elapsed = readDuration(from, headerElapsed)
	p.Undocumented = readDuration(from, headerUndocumented)
	p.Alone, _ = strconv.ParseBool(from.Get(headerAlone))
	p.Refused, _ = time.Parse(time.RFC3339Nano, from.Get(headerRefused))
	p.StoredAt, _ = time.Parse(time.RFC3339Nano, from.Get(headerStored))
	p.RefusedWait = readDuration(from, headerRefusedWait)
	p.MayHaveDeleted, _ = strconv.ParseBool(from.Get(headerMayHaveDeleted))
	p.AwaitingRemoval = from.Get(headerStep) == stepConfirm
	p.Seq, _ = strconv.ParseUint(from.Get(headerExpected), 10, 64)
	p.RequestSeq, _ = strconv.ParseUint(from.Get(headerRequestSeq), 10, 64)
	p.Answer = readAnswer(from.Get(headerAnswer))
	return p
}

// WithAttempt returns p with one more attempt, begun now.
func (p Progress) WithAttempt(now time.Time) Progress {
	p.Attempts++
	if p.FirstAttempt.IsZero() {
		p.FirstAttempt = now
	}
	return p
}

// WithoutLastAttempt returns p without its last attempt, for which no call was made.
func (p Progress) WithoutLastAttempt() Progress {
	if p.Attempts--; p.Attempts == 0 && !p.AwaitingRemoval {
		p.FirstAttempt = time.Time{}
	}
	return p
}

// RefusedAlone reports whether an API has refused this very request before, in a way that
// may be about it alone. Then the answers to it say little about the API.
func (p Progress) RefusedAlone() bool { return !p.Refused.IsZero() || p.Undocumented > 0 }

// Single reports whether the request must not share a call with others.
func (p Progress) Single() bool { return p.Alone || p.RefusedAlone() }

// WithRetry returns p with the time of a call that ended in retry, and the wait that
// is scheduled after it.
func (p Progress) WithRetry(callDuration, wait time.Duration) Progress {
	p.Elapsed = Sum(p.Elapsed, callDuration, wait)
	p.Waits++
	return p
}

// Sum adds durations, none of which is negative, up to the longest.
func Sum(all ...time.Duration) (total time.Duration) {
	for _, d := range all {
		if total += d; total < 0 {
			return math.MaxInt64
		}
	}
	return total
}
