package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// A record in which nothing is wrong, and what a change to it must be called.
func TestAudit(t *testing.T) {
	entry := events.KnowledgeBaseEntry{ReplicaUUID: replicas[0], KnowledgeBaseID: 7}
	other := events.KnowledgeBaseEntry{ReplicaUUID: replicas[0], KnowledgeBaseID: 8}
	there := fakeapi.KnowledgeBaseEntry(replicas[0], 7)
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	result := func(o events.Outcome, status int) *events.Result {
		return &events.Result{Outcome: o, Resource: entry, Attempts: 1, Evidence: &events.Evidence{Status: status}}
	}
	refusal := func(code events.Code) *events.Result {
		return &events.Result{Outcome: events.Invalid, Error: &events.ResultError{Code: code}}
	}
	good := func() Record {
		return Record{
			Published: []Publication{
				{Sequence: 1, Target: entry.Target(), ID: "a", Resource: entry},
				{Sequence: 2, Target: entry.Target(), ID: "a", Resource: entry},
				{Sequence: 3, Target: entry.Target(), ID: "a", Resource: other},
				{Sequence: 4, Target: entry.Target(), Code: events.CodeMalformedEvent},
				{Sequence: 5, Target: entry.Target(), ID: "b", Code: events.CodeInvalidResource},
			},
			Links: []Link{
				{Sequence: 1, Target: entry.Target(), ID: "a", Stored: at},
				{Sequence: 2, Target: entry.Target(), ID: "a", Stored: at.Add(2 * time.Second), Follows: 1, Result: result(events.Deleted, 200)},
				{Sequence: 3, Target: entry.Target(), ID: "seq-3", Stored: at, Result: refusal(events.CodeIDReused)},
				{Sequence: 4, Target: entry.Target(), ID: "seq-4", Stored: at, Result: refusal(events.CodeMalformedEvent)},
				{Sequence: 5, Target: entry.Target(), ID: "b", Stored: at, Result: refusal(events.CodeInvalidResource)},
			},
			Calls: []fakeapi.Call{{
				Number: 1, Arrived: at.Add(time.Second), API: fakeapi.Sensay, Entries: []fakeapi.Entry{there}, Deleted: []fakeapi.Entry{there}, Status: 200,
			}},
		}
	}
	afterwards := func(r *Record, c fakeapi.Call) {
		c.Number, c.Arrived = 2, at.Add(3*time.Second)
		r.Calls = append(r.Calls, c)
	}
	for _, c := range []struct {
		name   string
		change func(*Record)
		want   []string
	}{
		{"nothing wrong", func(*Record) {}, nil},
		{"not found, and nobody deleted it", func(r *Record) {
			r.Calls[0].Deleted, r.Calls[0].Status = nil, 404
			r.Links[1].Result = result(events.NotFound, 404)
		}, nil},
		{"deleted after an attempt that nobody answered", func(r *Record) {
			r.Links[1].Result = result(events.Deleted, 404)
			r.Links[1].Result.Evidence.AfterUnansweredAttempt, r.Links[1].Result.Attempts = true, 2
		}, nil},
		{"deleted after an attempt that the API refused", func(r *Record) {
			r.Undisturbed = true
			r.Links[1].Result = result(events.Deleted, 404)
			r.Links[1].Result.Evidence.AfterUnansweredAttempt, r.Links[1].Result.Attempts = true, 2
		}, []string{Unfounded}},
		{"deleted after an attempt that the API took", func(r *Record) {
			r.Undisturbed = true
			r.Links[1].Result = result(events.Deleted, 404)
			r.Links[1].Result.Evidence.AfterUnansweredAttempt, r.Links[1].Result.Attempts = true, 2
			r.Calls = append([]fakeapi.Call{r.Calls[0]}, r.Calls...)
			r.Calls[0].Status, r.Calls[1].Deleted, r.Calls[1].Status = 503, nil, 404
		}, nil},
		{"deleted on an answer that ended its connection", func(r *Record) { r.Calls[0].Fault = fakeapi.Recycle }, nil},
		{"the final result is missing", func(r *Record) { r.Links = slices.Delete(r.Links, 1, 2) }, []string{Missing}},
		{"a final result stands twice", func(r *Record) {
			l := r.Links[1]
			l.Sequence, l.Follows = 6, 2
			r.Links = append(r.Links, l)
		}, []string{Double}},
		{"accepted-pending after the final result", func(r *Record) {
			r.Links = append(r.Links, Link{Sequence: 6, Follows: 2, Target: entry.Target(), ID: "a", Stored: at, Result: result(events.AcceptedPending, 202)})
		}, []string{Double}},
		{"an answer to an id used again is missing", func(r *Record) { r.Links = slices.Delete(r.Links, 2, 3) }, []string{Missing}},
		{"an answer to an unreadable event is missing", func(r *Record) { r.Links = slices.Delete(r.Links, 3, 4) }, []string{Missing}},
		{"a malformed event has another code", func(r *Record) { r.Links[4].Result = refusal(events.CodeMalformedEvent) }, []string{Mistaken}},
		{"a request is given up", func(r *Record) { r.Links[1].Result = result(events.Failed, 503) }, []string{Mistaken}},
		{"a result for nobody", func(r *Record) {
			r.Links = append(r.Links, Link{Sequence: 6, Target: entry.Target(), ID: "seq-9", Stored: at, Result: refusal(events.CodeMalformedEvent)})
		}, []string{NobodyAsks}},
		{"deleted, and the API never said so", func(r *Record) { r.Calls[0].Status = 503 }, []string{Unfounded}},
		{"deleted on a spoiled answer", func(r *Record) { r.Calls[0].Fault = fakeapi.Truncated }, []string{Unfounded}},
		{"deleted on a 404 after a clear answer", func(r *Record) { r.Links[1].Result = result(events.Deleted, 404) }, []string{Unfounded}},
		{"deleted without any evidence", func(r *Record) { r.Links[1].Result.Evidence = nil }, []string{Unfounded}},
		{"not found, and it was us", func(r *Record) { r.Links[1].Result = result(events.NotFound, 404) }, []string{Untrue}},
		{"something else is deleted", func(r *Record) {
			r.Calls[0].Deleted = append(r.Calls[0].Deleted, fakeapi.KnowledgeBaseEntry(replicas[1], 7))
		}, []string{NotAsked}},
		{"a call for the request whose id was taken", func(r *Record) {
			afterwards(r, fakeapi.Call{API: fakeapi.Sensay, Entries: []fakeapi.Entry{fakeapi.KnowledgeBaseEntry(replicas[0], 8)}})
		}, []string{NotAsked}},
		{"a call after the final result", func(r *Record) {
			afterwards(r, fakeapi.Call{API: fakeapi.Sensay, Entries: []fakeapi.Entry{there}})
		}, []string{LateCall}},
		{"a link out of place", func(r *Record) { r.Links[1].Follows = 0 }, []string{OffChain}},
		{"a message is left", func(r *Record) { r.Left = []string{"deletions.due.kv-user-context at 9"} }, []string{LeftBehind}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := good()
			c.change(&r)
			var got []string
			for _, v := range Audit(r) {
				got = append(got, v.Promise)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestTheSameSeedGivesTheSameEvents(t *testing.T) {
	a, b, c := Workload(1, 500), Workload(1, 500), Workload(2, 500)
	same := func(a, b []Message) bool {
		return slices.EqualFunc(a, b, func(a, b Message) bool { return string(a.Body) == string(b.Body) })
	}
	if !same(a, b) || same(a, c) {
		t.Errorf("seed 1 twice: same %v; seeds 1 and 2: same %v", same(a, b), same(a, c))
	}
}
