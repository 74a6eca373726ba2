package ledger

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

func TestAReplayIsTheFailedRequestAsASuccessorOfItsResult(t *testing.T) {
	failed := entryResult("req-1")
	failed.Outcome, failed.Error = events.Failed, &events.ResultError{Code: events.CodeRetriesExhausted}
	msg, err := Replay(failed, 17)
	if err != nil {
		t.Fatal(err)
	}
	if msg.Subject != "deletions.requests.sensay-knowledge-base" || msg.Header.Get(nats.MsgIdHdr) != "req-1.replay.17" || Expected(msg.Header) != 17 {
		t.Errorf("%s %v", msg.Subject, msg.Header)
	}
	request, err := events.ReadRequest(failed.Target, msg.Header, msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	want := events.Request{ID: "req-1", Source: "/test", Resource: failed.Resource, Time: request.Time}
	if diff := cmp.Diff(want, request); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if WroteResult(msg.Header) {
		t.Error("it counts as written by a worker")
	}
}

func TestWhatCannotBeReplayedSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *events.Result)
		want   string
	}{
		"another outcome":     {func(r *events.Result) { r.Outcome = events.NotFound }, "its result is not-found, not failed"},
		"accepted for later":  {func(r *events.Result) { r.Outcome = events.AcceptedPending }, "its result is accepted-pending, not failed"},
		"a name for an event": {func(r *events.Result) { r.RequestID = "seq-9" }, "its id names another request; publish it under a new id"},
		"another field":       {func(r *events.Result) { r.RequestSource = "a b" }, "source"},
	} {
		failed := entryResult("req-1")
		failed.Outcome = events.Failed
		c.change(&failed)
		if msg, err := Replay(failed, 17); msg != nil || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "another request") != (name == "a name for an event") {
			t.Errorf("%s: %v, %v", name, msg, err)
		}
	}
}

func TestAResultIsAWorkersOwnByItsRecord(t *testing.T) {
	if WroteResult(nats.Header{"content-type": {events.ContentType}}) || !WroteResult(nats.Header{headerRecord: {NewID()}}) {
		t.Error("it goes by another header")
	}
}
