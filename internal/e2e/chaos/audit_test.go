package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// Observations without a violation, and the violations that each change to them must cause.
func TestAudit(t *testing.T) {
	entry := events.KnowledgeBaseEntry{ReplicaUUID: replicas[0], KnowledgeBaseID: 7}
	other := events.KnowledgeBaseEntry{ReplicaUUID: replicas[0], KnowledgeBaseID: 8}
	deleted := fakeapi.KnowledgeBaseEntry(replicas[0], 7)
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	result := func(o events.Outcome, status int) *events.Result {
		return &events.Result{Outcome: o, Resource: entry, Attempts: 1, Evidence: &events.Evidence{Status: status}}
	}
	refusal := func(code events.Code) *events.Result {
		return &events.Result{Outcome: events.Invalid, Error: &events.ResultError{Code: code}}
	}
	good := func() Observations {
		return Observations{
			Published: []Publication{
				{Sequence: 1, Target: entry.Target(), ID: "a", Resource: entry},
				{Sequence: 2, Target: entry.Target(), ID: "a", Resource: entry},
				{Sequence: 3, Target: entry.Target(), ID: "a", Resource: other},
				{Sequence: 4, Target: entry.Target(), Code: events.CodeMalformedEvent},
				{Sequence: 5, Target: entry.Target(), ID: "b", Code: events.CodeInvalidResource},
			},
			Records: []Record{
				{Sequence: 1, Target: entry.Target(), ID: "a", Stored: at},
				{Sequence: 2, Target: entry.Target(), ID: "a", Stored: at.Add(2 * time.Second), Expected: 1, Result: result(events.Deleted, 200)},
				{Sequence: 3, Target: entry.Target(), ID: "seq-3", Stored: at, Result: refusal(events.CodeIDReused)},
				{Sequence: 4, Target: entry.Target(), ID: "seq-4", Stored: at, Result: refusal(events.CodeMalformedEvent)},
				{Sequence: 5, Target: entry.Target(), ID: "b", Stored: at, Result: refusal(events.CodeInvalidResource)},
			},
			Calls: []fakeapi.Call{{
				Number: 1, Arrived: at.Add(time.Second), API: fakeapi.Sensay, Entries: []fakeapi.Entry{deleted}, Deleted: []fakeapi.Entry{deleted}, Status: 200,
			}},
		}
	}
	afterwards := func(r *Observations, c fakeapi.Call) {
		c.Number, c.Arrived = 2, at.Add(3*time.Second)
		r.Calls = append(r.Calls, c)
	}
	for _, c := range []struct {
		name   string
		change func(*Observations)
		want   []string
	}{
		{"no violation", func(*Observations) {}, nil},
		{"not found, and Lethe did not delete it", func(r *Observations) {
			r.Calls[0].Deleted, r.Calls[0].Status = nil, 404
			r.Records[1].Result = result(events.NotFound, 404)
		}, nil},
		{"deleted after an unanswered attempt", func(r *Observations) {
			r.Records[1].Result = result(events.Deleted, 404)
			r.Records[1].Result.Evidence.AfterUnansweredAttempt, r.Records[1].Result.Attempts = true, 2
		}, nil},
		{"deleted after an attempt that the API refused", func(r *Observations) {
			r.Undisturbed = true
			r.Records[1].Result = result(events.Deleted, 404)
			r.Records[1].Result.Evidence.AfterUnansweredAttempt, r.Records[1].Result.Attempts = true, 2
		}, []string{NoEvidence}},
		{"deleted after an attempt that the API received", func(r *Observations) {
			r.Undisturbed = true
			r.Records[1].Result = result(events.Deleted, 404)
			r.Records[1].Result.Evidence.AfterUnansweredAttempt, r.Records[1].Result.Attempts = true, 2
			r.Calls = append([]fakeapi.Call{r.Calls[0]}, r.Calls...)
			r.Calls[0].Status, r.Calls[1].Deleted, r.Calls[1].Status = 503, nil, 404
		}, nil},
		{"deleted on an answer that ended its connection", func(r *Observations) { r.Calls[0].Fault = fakeapi.Recycle }, nil},
		{"a call before a pause", func(r *Observations) {
			r.Pauses = []Pause{{entry.Target(), at.Add(time.Second), at.Add(time.Hour)}}
		}, nil},
		{"a call after a pause", func(r *Observations) { r.Pauses = []Pause{{entry.Target(), at, at.Add(time.Second)}} }, nil},
		{"a call while another lane is paused", func(r *Observations) {
			r.Pauses = []Pause{{events.KVUserContext, at, at.Add(time.Hour)}}
		}, nil},
		{"a call while its lane is paused", func(r *Observations) {
			r.Pauses = []Pause{{entry.Target(), at, at.Add(time.Hour)}}
		}, []string{PausedCall}},
		{"the final result is missing", func(r *Observations) { r.Records = slices.Delete(r.Records, 1, 2) }, []string{Missing}},
		{"a final result is stored twice", func(r *Observations) {
			l := r.Records[1]
			l.Sequence, l.Expected = 6, 2
			r.Records = append(r.Records, l)
		}, []string{Duplicate}},
		{"accepted-pending after the final result", func(r *Observations) {
			r.Records = append(r.Records, Record{Sequence: 6, Expected: 2, Target: entry.Target(), ID: "a", Stored: at, Result: result(events.AcceptedPending, 202)})
		}, []string{Duplicate}},
		{"the result of a reused id is missing", func(r *Observations) { r.Records = slices.Delete(r.Records, 2, 3) }, []string{Missing}},
		{"the result of an unreadable event is missing", func(r *Observations) { r.Records = slices.Delete(r.Records, 3, 4) }, []string{Missing}},
		{"a malformed event has another code", func(r *Observations) { r.Records[4].Result = refusal(events.CodeMalformedEvent) }, []string{WrongResult}},
		{"a request has failed", func(r *Observations) { r.Records[1].Result = result(events.Failed, 503) }, []string{WrongResult}},
		{"a result without a request", func(r *Observations) {
			r.Records = append(r.Records, Record{Sequence: 6, Target: entry.Target(), ID: "seq-9", Stored: at, Result: refusal(events.CodeMalformedEvent)})
		}, []string{Unrequested}},
		{"deleted without a 200 in the journal", func(r *Observations) { r.Calls[0].Status = 503 }, []string{NoEvidence}},
		{"deleted on a truncated answer", func(r *Observations) { r.Calls[0].Fault = fakeapi.Truncated }, []string{NoEvidence}},
		{"deleted on a 404 without an unanswered attempt", func(r *Observations) { r.Records[1].Result = result(events.Deleted, 404) }, []string{NoEvidence}},
		{"deleted without any evidence", func(r *Observations) { r.Records[1].Result.Evidence = nil }, []string{NoEvidence}},
		{"not found, and Lethe deleted it", func(r *Observations) { r.Records[1].Result = result(events.NotFound, 404) }, []string{FalseNotFound}},
		{"another entry is deleted", func(r *Observations) {
			r.Calls[0].Deleted = append(r.Calls[0].Deleted, fakeapi.KnowledgeBaseEntry(replicas[1], 7))
		}, []string{WrongDeletion}},
		{"a call for the request with a reused id", func(r *Observations) {
			afterwards(r, fakeapi.Call{API: fakeapi.Sensay, Entries: []fakeapi.Entry{fakeapi.KnowledgeBaseEntry(replicas[0], 8)}})
		}, []string{WrongDeletion}},
		{"a call after the final result", func(r *Observations) {
			afterwards(r, fakeapi.Call{API: fakeapi.Sensay, Entries: []fakeapi.Entry{deleted}})
		}, []string{LateCall}},
		{"a record out of order", func(r *Observations) { r.Records[1].Expected = 0 }, []string{WrongOrder}},
		{"a message is left", func(r *Observations) { r.Left = []string{"deletions.due.kv-user-context at 9"} }, []string{Stranded}},
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
