package consumer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-dev/lethe/events"
)

func TestOvertaken(t *testing.T) {
	known := History{Arrival: 5}
	due := noon.Add(24 * time.Hour)
	attempt := func(age time.Duration, by string) *link {
		return &link{Seq: 9, Stored: noon.Add(-age), Fingerprint: "f", Instance: by, Lease: time.Minute, History: History{Attempts: 2, Seq: 9, Arrival: 5}}
	}
	result := func(o events.Outcome, fingerprint string) *link {
		return &link{Seq: 9, Stored: noon, Outcome: o, Fingerprint: fingerprint, History: History{Attempts: 2, Seq: 9, Since: due, Confirming: true}}
	}
	over := attempt(time.Second, "other")
	over.Lease = 0
	answered := History{Attempts: 2, Seq: 9, Arrival: 5}
	lapsed := answered
	lapsed.Unanswered = true

	for _, c := range []struct {
		name     string
		knows    uint64
		last     *link
		standing bool
		want     course
		at       time.Time
		history  History
	}{
		{name: "a request with its final result is done", last: result(events.Deleted, "f"), want: courseDone, history: known},
		{name: "a request that failed is done until a person replays it", last: result(events.Failed, "f"), want: courseDone, history: known},
		{name: "another resource is a reused id, whatever its state", last: result(events.Deleted, "g"), want: courseReused, history: known},
		{name: "a request whose next step is scheduled is done", last: attempt(time.Second, "other"), standing: true, want: courseDone, history: known},
		{name: "pending without a schedule gets its confirmation at its time", last: result(events.AcceptedPending, "f"), want: courseAgain, at: due,
			history: History{Attempts: 2, Seq: 9, Since: due, Confirming: true, Arrival: 5}},
		{name: "an attempt under lease is another worker's", last: attempt(time.Second, "other"), want: courseAgain, at: noon.Add(59*time.Second + clockTolerance), history: known},
		{name: "a lease is not over while clocks may differ", last: attempt(time.Minute+clockTolerance-1, "other"), want: courseAgain, at: noon.Add(1), history: known},
		{name: "an attempt stored in the future is under lease", last: attempt(-time.Hour, "other"), want: courseAgain, at: noon.Add(time.Hour + time.Minute + clockTolerance), history: known},
		{name: "an attempt whose lease is over is adopted as unanswered", last: attempt(2*time.Minute, "other"), want: courseAdopt, history: lapsed},
		{name: "this worker's own attempt needs no waiting", last: attempt(time.Second, "self"), want: courseAdopt, history: lapsed},
		{name: "an attempt that was answered is adopted as it was", last: over, want: courseAdopt, history: answered},
		{name: "a chain whose records are gone is adopted as unanswered", knows: 7, last: nil, want: courseAdopt, history: History{Arrival: 5, Unanswered: true}},
		{name: "a chain whose later records are gone is adopted as unanswered", knows: 12, last: over, want: courseAdopt, history: lapsed},
	} {
		t.Run(c.name, func(t *testing.T) {
			known := known
			known.Seq = c.knows
			got, at, history := overtaken(known, "f", c.last, c.standing, "self", noon)
			if got != c.want || !at.Equal(c.at) {
				t.Errorf("course %v at %v, want %v at %v", got, at, c.want, c.at)
			}
			if diff := cmp.Diff(c.history, history); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
		})
	}
}
