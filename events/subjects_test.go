package events

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestSubjects(t *testing.T) {
	for _, test := range []struct{ name, got, want string }{
		{"a request", RequestSubject(KVUserContext), "deletions.requests.kv-user-context"},
		{"a result", ResultSubject(SensayKnowledgeBase, "a", AcceptedPending), "deletions.results.sensay-knowledge-base.a.accepted-pending"},
		{"an attempt", AttemptSubject(SensayKnowledgeBase, "a", 12), "deletions.attempts.sensay-knowledge-base.a.12"},
		{"a schedule", LaterSubject(KVUserContext, "a"), "deletions.later.kv-user-context.a"},
		{"a due step", DueSubject(KVUserContext), "deletions.due.kv-user-context"},
		{"all results", ResultFilter("", "", ""), "deletions.results.*.*.*"},
		{"the results of a request", ResultFilter("", "a", ""), "deletions.results.*.a.*"},
		{"the failed results of a target", ResultFilter(KVUserContext, "", Failed), "deletions.results.kv-user-context.*.failed"},
		{"the id of a request without a usable id", SequenceID(math.MaxUint64), "seq-18446744073709551615"},
		{"the type of a result", AcceptedPending.EventType(), "lethe.deletion.accepted-pending.v1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.got != test.want {
				t.Errorf("got %s, want %s", test.got, test.want)
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	for _, o := range Outcomes() {
		if want := o != AcceptedPending; o.Final() != want {
			t.Errorf("%s is final: %t", o, o.Final())
		}
	}
	if Outcome("gone").Known() || Outcome("gone").Final() {
		t.Error("an unknown outcome counts as known")
	}
	if Code("gone").Outcome() != "" {
		t.Error("an unknown code has an outcome")
	}
	if Target("gone").Known() || !KVUserContext.Known() || !SensayKnowledgeBase.Known() {
		t.Error("a known target counts as unknown, or an unknown one as known")
	}
}

func TestNewRequest(t *testing.T) {
	before := time.Now()
	r := NewRequest("/crm", UserContexts{IDs: []int64{1}})
	if id, err := uuid.Parse(r.ID); err != nil || id.Version() != 7 {
		t.Errorf("the id is %s", r.ID)
	}
	if r.Time.Before(before.Truncate(0)) || r.Time.Location() != time.UTC {
		t.Errorf("the time is %v", r.Time)
	}
	if _, err := r.Encode(); err != nil {
		t.Error(err)
	}
}

func TestRequestEncodeRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(r *Request)
		code   Code
		field  string
	}{
		{"no id", func(r *Request) { r.ID = "" }, CodeMalformedEvent, "id"},
		{"a reserved id", func(r *Request) { r.ID = SequenceID(1) }, CodeMalformedEvent, "id"},
		{"no source", func(r *Request) { r.Source = "" }, CodeMalformedEvent, "source"},
		{"a source that is not a URI", func(r *Request) { r.Source = "a b" }, CodeMalformedEvent, "source"},
		{"a source over 2 KiB", func(r *Request) { r.Source = strings.Repeat("/", maxSourceBytes+1) }, CodeMalformedEvent, "source"},
		{"a time that RFC 3339 cannot write", func(r *Request) { r.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, CodeMalformedEvent, "time"},
		{"no resource", func(r *Request) { r.Resource = nil }, CodeInvalidResource, "data"},
		{"no ids", func(r *Request) { r.Resource = UserContexts{} }, CodeInvalidResource, "data.ids"},
		{"101 ids", func(r *Request) { r.Resource = UserContexts{IDs: numberIDs(101)} }, CodeInvalidResource, "data.ids"},
		{"a negative id", func(r *Request) { r.Resource = UserContexts{IDs: []int64{1, -1}} }, CodeInvalidResource, "data.ids[1]"},
		{"a repeated id", func(r *Request) { r.Resource = UserContexts{IDs: []int64{1, 2, 1}} }, CodeInvalidResource, "data.ids[2]"},
		{"no replica", func(r *Request) { r.Resource = KnowledgeBaseEntry{KnowledgeBaseID: 1} }, CodeInvalidResource, "data.replica_uuid"},
		{"no entry", func(r *Request) { r.Resource = KnowledgeBaseEntry{ReplicaUUID: uuid.New()} }, CodeInvalidResource, "data.knowledge_base_id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := kvRequest
			test.change(&r)
			_, err := r.Encode()
			wantInvalid(t, err, test.code, test.field)
		})
	}
}
