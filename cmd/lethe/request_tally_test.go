package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
)

// What a person reads about a batch that was published again.
func TestTheSummaryCountsEachRowByWhatHappenedToIt(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	resource, other := events.UserContexts{IDs: []int64{1}}, events.UserContexts{IDs: []int64{2}}
	earlier := func(o events.Outcome, res events.Resource, at time.Time) *storedResult {
		return &storedResult{Result: events.Result{Outcome: o, Resource: res, Time: at}}
	}
	type counted struct {
		before    *storedResult
		duplicate bool
	}
	for name, c := range map[string]struct {
		rows []counted
		want string
	}{
		"nothing":              {nil, "0 new, 0 published before, 0 answered before, 0 refused"},
		"new ones":             {[]counted{{}, {}}, "2 new, 0 published before, 0 answered before, 0 refused"},
		"a duplicate":          {[]counted{{nil, true}}, "0 new, 1 published before, 0 answered before, 0 refused"},
		"accepted for later":   {[]counted{{earlier(events.AcceptedPending, resource, at), false}}, "0 new, 1 published before, 0 answered before, 0 refused"},
		"answered":             {[]counted{{earlier(events.Deleted, resource, at), true}}, "0 new, 0 published before, 1 answered before (2026-11-23 12:00:00), 0 refused"},
		"failed":               {[]counted{{earlier(events.Failed, resource, at), false}}, "0 new, 0 published before, 1 answered before (2026-11-23 12:00:00), 0 refused"},
		"an id of another":     {[]counted{{earlier(events.Deleted, other, at), false}}, "0 new, 0 published before, 0 answered before, 1 refused\n  1 × id reused"},
		"an id of no resource": {[]counted{{earlier(events.Invalid, nil, at), false}}, "0 new, 0 published before, 0 answered before, 1 refused\n  1 × id reused"},
		"answered at different times": {
			[]counted{
				{earlier(events.Deleted, resource, at.Add(time.Hour)), true}, {earlier(events.NotFound, resource, at), true},
				{earlier(events.Deleted, resource, at.Add(3*time.Hour)), true}, {earlier(events.Deleted, resource, at.Add(2*time.Hour)), true},
			},
			"0 new, 0 published before, 4 answered before (2026-11-23 12:00:00 to 2026-11-23 15:00:00), 0 refused",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sum := tally{reasons: map[string]int{}}
			for i, row := range c.rows {
				p := publication{ID: fmt.Sprint(i), Sequence: uint64(i), Duplicate: row.duplicate}
				out := pending{before: row.before}
				out.Resource = resource
				sum.count(&p, &out)
				final := row.before != nil && row.before.Outcome.Final() && row.before.names(p.fingerprint)
				if p.Answered.IsZero() == final || (p.Outcome != "") != final {
					t.Errorf("row %d is %+v", i, p)
				}
			}
			var shown strings.Builder
			sum.summary(&shown, "")
			if !strings.HasPrefix(shown.String(), c.want) || strings.Contains(shown.String(), "confirmed") || strings.Contains(shown.String(), "resume") {
				t.Errorf("%s\nwant %s", shown.String(), c.want)
			}
		})
	}
}

func TestTheSummaryShowsTheMostFrequentReasonsAndSomeRefusals(t *testing.T) {
	t.Parallel()
	sum := tally{reasons: map[string]int{}, unconfirmed: 2}
	for i := range maxExamples + 2 {
		sum.refuse("often", fmt.Errorf("row %d is wrong", i))
	}
	sum.refuse("b, once", fmt.Errorf("never shown"))
	sum.refuse("a, once", fmt.Errorf("never shown"))
	var shown strings.Builder
	sum.summary(&shown, "it's mine")
	lines := strings.Split(strings.TrimSpace(shown.String()), "\n")
	if want := "0 new, 0 published before, 0 answered before, 14 refused, 2 not confirmed"; lines[0] != want {
		t.Errorf("%q, want %q", lines[0], want)
	}
	if want := []string{"  12 × often", "  1 × a, once", "  1 × b, once", "    row 0 is wrong"}; strings.Join(lines[1:5], "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want %q", lines[1:5], want)
	}
	if len(lines) != 5+maxExamples || lines[len(lines)-1] != `to resume: --batch 'it'\''s mine'` {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}
