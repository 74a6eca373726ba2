package ledger

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-dev/lethe/events"
)

func TestResolve(t *testing.T) {
	known := Progress{RequestSeq: 5}
	due := noon.Add(24 * time.Hour)
	attempt := func(age time.Duration, by string) *Record {
		return &Record{Seq: 9, StoredAt: noon.Add(-age), Fingerprint: "f", Instance: by, Lease: time.Minute, Progress: Progress{Attempts: 2, Seq: 9, RequestSeq: 5}}
	}
	result := func(o events.Outcome, fingerprint string) *Record {
		return &Record{Seq: 9, StoredAt: noon, Outcome: o, Fingerprint: fingerprint, Progress: Progress{Attempts: 2, Seq: 9, FirstAttempt: due, AwaitingRemoval: true}}
	}
	over := attempt(time.Second, "other")
	over.Lease = 0
	answered := Progress{Attempts: 2, Seq: 9, RequestSeq: 5}
	lapsed := answered
	lapsed.MayHaveDeleted = true
	overAfterUnanswered := attempt(time.Second, "other")
	overAfterUnanswered.Lease, overAfterUnanswered.Progress.MayHaveDeleted = 0, true

	for _, c := range []struct {
		name      string
		carried   uint64
		may       bool // an earlier attempt may have deleted
		last      *Record
		scheduled bool
		want      Action
		at        time.Time
		progress  Progress
	}{
		{name: "a request with its final result is done", last: result(events.Deleted, "f"), want: Acknowledge, progress: known},
		{name: "a failed request is done until it is replayed", last: result(events.Failed, "f"), want: Acknowledge, progress: known},
		{name: "another resource is a reused id, whatever its outcome", last: result(events.Deleted, "g"), want: RejectReuse, progress: known},
		{name: "a request whose next step is scheduled is done", last: attempt(time.Second, "other"), scheduled: true, want: Acknowledge, progress: known},
		{name: "a pending request without a schedule gets its confirmation", last: result(events.AcceptedPending, "f"), want: Reschedule, at: due,
			progress: Progress{Attempts: 2, Seq: 9, FirstAttempt: due, AwaitingRemoval: true, RequestSeq: 5}},
		{name: "an attempt under lease is another worker's", last: attempt(time.Second, "other"), want: Reschedule, at: noon.Add(59*time.Second + ClockTolerance), progress: known},
		{name: "a lease has not expired within the clocks' tolerance", last: attempt(time.Minute+ClockTolerance-1, "other"), want: Reschedule, at: noon.Add(1), progress: known},
		{name: "an attempt stored in the future is under lease", last: attempt(-time.Hour, "other"), want: Reschedule, at: noon.Add(time.Hour + time.Minute + ClockTolerance), progress: known},
		{name: "an attempt whose lease has expired is adopted as unanswered", last: attempt(2*time.Minute, "other"), want: Adopt, progress: lapsed},
		{name: "this worker's own attempt is adopted at once", last: attempt(time.Second, "self"), want: Adopt, progress: lapsed},
		{name: "an attempt that was answered is adopted as it was", last: over, want: Adopt, progress: answered},
		{name: "an attempt that was answered is adopted as it was, by the message of its own record, too", carried: 9, last: over, want: Adopt, progress: answered},
		{name: "an unanswered attempt before one that was answered is not forgotten", last: overAfterUnanswered, want: Adopt, progress: lapsed},
		{name: "a request without records has no unanswered attempt", want: Adopt, progress: known},
		{name: "what a request without records knows is not forgotten", may: true, want: Adopt, progress: Progress{RequestSeq: 5, MayHaveDeleted: true}},
		{name: "a request whose records are gone is adopted as unanswered", carried: 7, last: nil, want: Adopt, progress: Progress{RequestSeq: 5, MayHaveDeleted: true}},
		{name: "a request whose last records are gone is adopted as unanswered", carried: 12, last: over, want: Adopt, progress: lapsed},
	} {
		t.Run(c.name, func(t *testing.T) {
			known := known
			known.Seq, known.MayHaveDeleted = c.carried, c.may
			got, at, progress := Resolve(known, "f", c.last, c.scheduled, "self", noon)
			if got != c.want || !at.Equal(c.at) {
				t.Errorf("Action %v at %v, want %v at %v", got, at, c.want, c.at)
			}
			if diff := cmp.Diff(c.progress, progress); diff != "" {
				t.Errorf("progress (-want +got):\n%s", diff)
			}
		})
	}
}
