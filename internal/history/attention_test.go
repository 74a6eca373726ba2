package history

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

func ids(all []*Request) []string {
	got := []string{}
	for _, q := range all {
		got = append(got, q.ID)
	}
	return got
}

func (s *site) failed(id string) {
	s.Helper()
	s.result(id, ledger.Progress{}, events.Result{Outcome: events.Failed, Error: &events.ResultError{Code: events.CodeRetriesExhausted, Message: id}})
}

// The newest are found however many other records lie between them.
func TestTheNewestFailedRequestsAreListed(t *testing.T) {
	for name, others := range map[string]int{"close together": 0, "far apart": 40, "among other failed ones": 3} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			for i := range 12 {
				s.failed(fmt.Sprintf("failed-%02d", i))
				for j := range others {
					s.result(fmt.Sprintf("other-%d-%d", i, j), ledger.Progress{Attempts: 1}, events.Result{Outcome: events.Deleted, Evidence: &events.Evidence{Status: 200}})
				}
			}
			found, err := s.reader.Failed(t.Context(), target, 3)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"failed-11", "failed-10", "failed-09"}, ids(found)); diff != "" {
				t.Error(diff)
			}
			if found[0].Records[0].Result.Error.Message != "failed-11" || found[0].At().IsZero() {
				t.Errorf("%+v", found[0])
			}
		})
	}
}

// More failed requests than are read at once.
func TestTheNewestOfManyFailedRequestsAreListed(t *testing.T) {
	s := newSite(t)
	for range 100 {
		s.result(ledger.NewID(), ledger.Progress{Attempts: 1}, events.Result{Outcome: events.Deleted, Evidence: &events.Evidence{Status: 200}})
	}
	for i := range 70 {
		s.failed(fmt.Sprintf("failed-%02d", i))
	}
	for range 30 {
		s.result(ledger.NewID(), ledger.Progress{Attempts: 1}, events.Result{Outcome: events.Deleted, Evidence: &events.Evidence{Status: 200}})
	}
	found, err := s.reader.Failed(t.Context(), target, 5)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"failed-69", "failed-68", "failed-67", "failed-66", "failed-65"}, ids(found)); diff != "" {
		t.Error(diff)
	}
}

func TestARequestThatWasReplayedIsNotListed(t *testing.T) {
	s := newSite(t)
	s.failed("stays")
	s.failed("replayed")
	s.attempt("replayed", ledger.Progress{Attempts: 1, Seq: 2}, time.Minute)
	found, err := s.reader.Failed(t.Context(), target, 5)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"stays"}, ids(found)); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyOverdueDeletionsAreListed(t *testing.T) {
	s := newSite(t)
	pending := func(id string, due time.Time) {
		p := s.result(id, begun(), events.Result{Outcome: events.AcceptedPending, Evidence: &events.Evidence{Status: 202}})
		p.AwaitingRemoval, p.FirstAttempt = true, due
		p = s.attempt(id, p, 0)
		s.schedule(id, p, time.Now().Add(time.Hour))
	}
	pending("late", time.Now().Add(-time.Hour))
	pending("later", time.Now().Add(-2*time.Hour))
	pending("in-time", time.Now().Add(time.Hour))
	p := s.attempt("retrying", begun(), time.Minute)
	s.schedule("retrying", s.attempt("retrying", p, 0), time.Now().Add(time.Hour))
	found, err := s.reader.Overdue(t.Context(), target, 5)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"later", "late"}, ids(found)); diff != "" {
		t.Error(diff)
	}
	if at := found[0].DueAt(); time.Since(at).Round(time.Hour) != 2*time.Hour {
		t.Errorf("it was due at %s", at)
	}
	if none, err := s.reader.Overdue(t.Context(), events.KVUserContext, 5); err != nil || len(none) > 0 {
		t.Errorf("the other target has %v, %v", slices.Clone(ids(none)), err)
	}
}
