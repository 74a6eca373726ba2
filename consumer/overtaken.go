package consumer

import "time"

// A message is overtaken when the chain of its request is further on than the
// message knows: it was delivered again after a crash, published again, or
// another worker has it too.

// course is what to do with an overtaken message.
type course int

const (
	// courseDone: the final result or the next scheduled step is stored, so the
	// message can be acknowledged without a call.
	courseDone course = iota
	// courseReused: the id already names another resource.
	courseReused
	// courseAgain: come back at a time.
	courseAgain
	// courseAdopt: go on from the last link.
	courseAdopt
)

// overtaken decides on the course of a message that knows the history h and
// names the resource with this fingerprint. last is the chain's last link, nil
// if the chain is empty; standing says whether a next step is scheduled already;
// self is this worker. It is pure. The time and the history that it returns
// belong to courseAgain and courseAdopt.
func overtaken(h History, fingerprint string, last *link, standing bool, self string, now time.Time) (course, time.Time, History) {
	switch {
	case last == nil:
		// The records that h knew are gone, and with them what came of the last
		// attempts.
		h.Unanswered = h.Unanswered || h.Seq != 0
		h.Seq = 0
		return courseAdopt, time.Time{}, h

	case last.Fingerprint != fingerprint:
		return courseReused, time.Time{}, h

	case last.Outcome.Final(), standing:
		return courseDone, time.Time{}, h
	}

	adopted := last.History
	adopted.Arrival = h.Arrival
	// Later records than the last one were there.
	adopted.Unanswered = adopted.Unanswered || h.Seq > last.Seq
	if last.Outcome != "" {
		// accepted-pending was stored, but perhaps not its confirmation.
		return courseAgain, adopted.Since, adopted
	}
	if free := last.Stored.Add(last.Lease + clockTolerance); last.Lease > 0 && last.Instance != self && now.Before(free) {
		return courseAgain, free, h
	}
	if last.Lease > 0 {
		// Nobody knows what came of that call.
		adopted.Unanswered = true
	}
	return courseAdopt, time.Time{}, adopted
}
