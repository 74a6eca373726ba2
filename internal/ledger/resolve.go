package ledger

import "time"

// A conflict means that the records of a request are ahead of the message: it was
// delivered again after a crash, published again, or another worker has it too.

// Action is what to do about a conflict.
type Action int

const (
	// Acknowledge: the final result or the next scheduled step is stored, so the
	// message needs no call.
	Acknowledge Action = iota
	// RejectReuse: the id already names another resource.
	RejectReuse
	// Reschedule: another worker is active, or a confirmation is due; try again at a time.
	Reschedule
	// Adopt: continue from the last record.
	Adopt
)

// Resolve decides on the action for a message that has progress p and names the resource
// with this fingerprint. last is the request's last record, nil if there is none;
// scheduled: its next step is scheduled. self is this worker. It is pure. The time and
// the progress that it returns belong to Reschedule and Adopt.
func Resolve(p Progress, fingerprint string, last *Record, scheduled bool, self string, now time.Time) (Action, time.Time, Progress) {
	switch {
	case last == nil:
		// The records that p follows are gone, and with them the answers to the last
		// attempts.
		p.MayHaveDeleted = p.MayHaveDeleted || p.Seq != 0
		p.Seq = 0
		return Adopt, time.Time{}, p

	case last.Fingerprint != fingerprint:
		return RejectReuse, time.Time{}, p

	case last.Outcome.Final(), scheduled:
		return Acknowledge, time.Time{}, p
	}

	adopted := last.Progress
	adopted.RequestSeq = p.RequestSeq
	// Later records than the last one existed, and are gone.
	adopted.MayHaveDeleted = adopted.MayHaveDeleted || p.Seq > last.Seq
	if last.Outcome != "" {
		// accepted-pending was stored, but perhaps not its confirmation.
		return Reschedule, adopted.FirstAttempt, adopted
	}
	if free := last.StoredAt.Add(last.Lease + ClockTolerance); last.Lease > 0 && last.Instance != self && now.Before(free) {
		return Reschedule, free, p
	}
	if last.Lease > 0 {
		// The answer to that call is unknown.
		adopted.MayHaveDeleted = true
	}
	return Adopt, time.Time{}, adopted
}
