package history

import (
	"slices"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// Stage is the state of a request, in a word.
type Stage string

const (
	// Unknown: nothing is stored of it.
	Unknown Stage = "unknown"
	// Waiting: no worker has taken its message yet.
	Waiting Stage = "waiting"
	// Taken: a worker has taken its message, and has stored nothing yet.
	Taken Stage = "taken"
	// InFlight: a worker recorded an attempt, and its lease runs.
	InFlight Stage = "in-flight"
	// Unanswered: the lease of its last attempt is over, and no answer was stored.
	Unanswered Stage = "unanswered"
	// Retrying: its next attempt is scheduled.
	Retrying Stage = "retrying"
	// Due: its next attempt is due.
	Due Stage = "due"
	// AcceptedPending: the API accepted the deletion for later; another call confirms it.
	AcceptedPending Stage = "accepted-pending"
	// Final: it has its final result.
	Final Stage = "final"
)

// Stage returns the stage of the request at a time. It is a pure function.
func (q *Request) Stage(now time.Time) Stage {
	last := q.last()
	switch {
	case last == nil && q.Next != nil:
		return Retrying // its records expired, or it was scheduled before any was stored
	case last == nil:
		return q.unrecorded()
	case last.Outcome.Final() && !q.replayed():
		return Final
	case last.Outcome.Final():
		return q.unrecorded()
	case last.Lease > 0 && now.Before(last.leaseEnd()):
		return InFlight
	case last.Lease > 0:
		return Unanswered
	case last.Progress.AwaitingRemoval:
		return AcceptedPending
	case q.Next != nil && now.Before(q.Next.At):
		return Retrying
	default:
		return Due
	}
}

// unrecorded is the stage of a message that no record has followed yet.
func (q *Request) unrecorded() Stage {
	switch {
	case q.Message == nil:
		return Unknown
	case q.Message.Stream == events.StreamLater:
		return Due
	case q.Message.Taken:
		return Taken
	default:
		return Waiting
	}
}

// replayed reports whether a message asks to retry the failed request, and no attempt has
// followed yet.
func (q *Request) replayed() bool {
	return q.Message != nil && q.last().Outcome == events.Failed && q.Message.replays == q.last().Seq
}

// leaseEnd is until when another worker leaves the attempt alone.
func (r *Record) leaseEnd() time.Time { return r.StoredAt.Add(r.Lease + ledger.ClockTolerance) }

// Overdue reports whether the API accepted the deletion and did not complete it: both its
// confirmation and the time that the API named have passed. It is false unless the stage
// is [AcceptedPending] or [InFlight].
func (q *Request) Overdue(now time.Time) bool {
	last := q.last()
	if last == nil || last.Outcome.Final() || !last.Progress.AwaitingRemoval {
		return false
	}
	_, expectedBy := q.accepted()
	return now.After(last.Progress.FirstAttempt.Add(lateness)) && now.After(expectedBy)
}

// lateness is how late a confirmation may be taken before it is called overdue.
const lateness = time.Minute

// accepted returns when the API accepted the deletion, and by when it expects it to be
// complete; each is zero if it is unknown.
func (q *Request) accepted() (at, expectedBy time.Time) {
	for _, r := range slices.Backward(q.Records) {
		if r.Outcome == events.AcceptedPending && r.Result != nil {
			return r.StoredAt, r.Result.ExpectedBy
		}
	}
	return at, expectedBy
}

// NextAt is when the next attempt is to be made, zero if none is scheduled.
func (q *Request) NextAt(now time.Time) time.Time {
	if s := q.Stage(now); q.Next == nil || s == Final || s == InFlight {
		return time.Time{}
	}
	return q.Next.At
}
