package events

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

	kvResult = Result{
		EventID: "result-1", Source: "/lethe/a", Time: noon,
		RequestID: "req-1", RequestSource: "/crm", Target: KVUserContext, Resource: UserContexts{IDs: []int64{10, 11}},
		Outcome: Deleted, Attempts: 1,
		Evidence: &Evidence{Status: 200, Message: "Data deleted successfully", ObservedAt: noon, CallID: "call-1", CallRequests: 1},
	}
)

// resultOf returns a valid result with this outcome.
func resultOf(outcome Outcome, code Code) Result {
	r := kvResult
	r.Outcome = outcome
	switch outcome {
	case AcceptedPending:
		r.ExpectedBy = noon.Add(24 * time.Hour)
	case Invalid, Failed:
		r.Error = &ResultError{Code: code, Message: "as it was"}
	}
	return r
}

// everyResult has one result for every outcome and code, and some special cases.
func everyResult() map[string]Result {
	all := map[string]Result{}
	for _, outcome := range []Outcome{Deleted, AcceptedPending, NotFound} {
		all[string(outcome)] = resultOf(outcome, "")
	}
	for _, code := range Codes() {
		all[string(code.Outcome())+" "+string(code)] = resultOf(code.Outcome(), code)
	}
	unread := resultOf(Invalid, CodeMalformedEvent)
	unread.RequestID, unread.RequestSource, unread.Resource, unread.Evidence, unread.Attempts = SequenceID(7), "", nil, nil, 0
	all["a request that could not be read"] = unread

	some := resultOf(Invalid, CodeRejectedByAPI)
	some.Error.IDs = []int64{11}
	all["some of the ids refused"] = some

	entry := resultOf(Deleted, "")
	entry.Target, entry.Resource, entry.Attempts = SensayKnowledgeBase, sensayRequest.Resource, 2
	entry.Evidence = &Evidence{Status: 404, APIRequestID: "xyz1::a", ObservedAt: noon, CallID: "call-2", CallRequests: 1, AfterUnansweredAttempt: true}
	all["a 404 after an unanswered attempt"] = entry

	unanswered := resultOf(Failed, CodeRetriesExhausted)
	unanswered.Evidence = &Evidence{Message: "connection refused", ObservedAt: noon}
	all["no answer at all"] = unanswered

	unasked := resultOf(Failed, CodeRetriesExhausted)
	unasked.Evidence, unasked.Attempts = nil, 0
	all["no call at all"] = unasked
	return all
}

func TestResultRoundTrip(t *testing.T) {
	for name, want := range everyResult() {
		t.Run(name, func(t *testing.T) {
			text, err := want.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := ReadResult(map[string][]string{"content-type": {ContentType}}, text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResultOnTheWire(t *testing.T) {
	pending := resultOf(AcceptedPending, "")
	some := resultOf(Invalid, CodeRejectedByAPI)
	some.Error.IDs = []int64{11}
	for name, test := range map[string]struct {
		result Result
		want   string
	}{
		"a pending one": {pending, `{"specversion":"1.0","id":"result-1","source":"/lethe/a","type":"lethe.deletion.accepted-pending.v1",` +
			`"subject":"req-1","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z",` +
			`"data":{"request_id":"req-1","request_source":"/crm","target":"kv-user-context","ids":[10,11],` +
			`"outcome":"accepted-pending","final":false,"attempts":1,` +
			`"evidence":{"status":200,"message":"Data deleted successfully","observed_at":"2026-11-23T12:00:00Z","call_id":"call-1","call_requests":1,"after_unanswered_attempt":false},` +
			`"expected_by":"2026-11-24T12:00:00Z"}}`},
		"an invalid one": {some, `{"specversion":"1.0","id":"result-1","source":"/lethe/a","type":"lethe.deletion.invalid.v1",` +
			`"subject":"req-1","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z",` +
			`"data":{"request_id":"req-1","request_source":"/crm","target":"kv-user-context","ids":[10,11],` +
			`"outcome":"invalid","final":true,"attempts":1,` +
			`"evidence":{"status":200,"message":"Data deleted successfully","observed_at":"2026-11-23T12:00:00Z","call_id":"call-1","call_requests":1,"after_unanswered_attempt":false},` +
			`"error":{"code":"rejected-by-api","message":"as it was","ids":[11]}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := test.result.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResultMustBeConsistent(t *testing.T) {
	tests := []struct {
		name   string
		result Result
		change func(r *Result)
		field  string
	}{
		{"no event id", kvResult, func(r *Result) { r.EventID = "" }, "id"},
		{"a source with a space", kvResult, func(r *Result) { r.Source = "/lethe/my host" }, "source"},
		{"no time", kvResult, func(r *Result) { r.Time = time.Time{} }, "time"},
		{"a request id that is not a subject token", kvResult, func(r *Result) { r.RequestID = "a.b" }, "data.request_id"},
		{"a request source that is not a URI", kvResult, func(r *Result) { r.RequestSource = "a b" }, "data.request_source"},
		{"an unknown target", kvResult, func(r *Result) { r.Target = "x" }, "data.target"},
		{"another target's resource", kvResult, func(r *Result) { r.Target = SensayKnowledgeBase }, "data"},
		{"a wrong resource", kvResult, func(r *Result) { r.Resource = UserContexts{} }, "data.ids"},
		{"an unknown outcome", kvResult, func(r *Result) { r.Outcome = "gone" }, "data.outcome"},
		{"negative attempts", kvResult, func(r *Result) { r.Attempts = -1 }, "data.attempts"},
		{"deleted without a resource", kvResult, func(r *Result) { r.Resource = nil }, "data"},
		{"deleted without an attempt", kvResult, func(r *Result) { r.Attempts = 0 }, "data.attempts"},
		{"deleted without evidence", kvResult, func(r *Result) { r.Evidence = nil }, "data.evidence"},
		{"deleted without an answer", kvResult, func(r *Result) { r.Evidence = &Evidence{ObservedAt: noon} }, "data.evidence"},
		{"deleted at no time", kvResult, func(r *Result) { r.Evidence = &Evidence{Status: 200} }, "data.evidence"},
		{"not found without evidence", resultOf(NotFound, ""), func(r *Result) { r.Evidence = nil }, "data.evidence"},
		{"failed without a resource", resultOf(Failed, CodeRetriesExhausted), func(r *Result) { r.Resource = nil }, "data"},
		{"an impossible status", kvResult, func(r *Result) { r.Evidence = &Evidence{Status: 20, ObservedAt: noon} }, "data.evidence.status"},
		{"deleted, expected later", kvResult, func(r *Result) { r.ExpectedBy = noon }, "data.expected_by"},
		{"deleted with an error", kvResult, func(r *Result) { r.Error = &ResultError{Code: CodeIDReused} }, "data.error"},
		{"invalid without an error", resultOf(Invalid, CodeIDReused), func(r *Result) { r.Error = nil }, "data.error"},
		{"failed without an error", resultOf(Failed, CodeRetriesExhausted), func(r *Result) { r.Error = nil }, "data.error"},
		{"invalid with a code of failed", resultOf(Invalid, CodeRetriesExhausted), func(*Result) {}, "data.error.code"},
		{"failed with a code of invalid", resultOf(Failed, CodeIDReused), func(*Result) {}, "data.error.code"},
		{"failed with an unknown code", resultOf(Failed, "x"), func(*Result) {}, "data.error.code"},
		{"refused ids that are not in the request", resultOf(Invalid, CodeRejectedByAPI), func(r *Result) { r.Error.IDs = []int64{12} }, "data.error.ids"},
		{"refused ids without a resource", resultOf(Invalid, CodeMalformedEvent), func(r *Result) { r.Resource, r.Error.IDs = nil, []int64{12} }, "data.error.ids"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.change(&test.result)
			_, err := test.result.Encode()
			problem, ok := errors.AsType[*InvalidError](err)
			if !ok || problem.Field != test.field {
				t.Errorf("got %v, want an InvalidError at %s", err, test.field)
			}
		})
	}
}

func TestResultMakesForeignTextPrintable(t *testing.T) {
	r := resultOf(Failed, CodeUnexpectedAnswer)
	evidence := *r.Evidence
	r.Evidence = &evidence
	r.Evidence.Message = "<html>\r\n\xff" + strings.Repeat("x", 5000)
	r.Error.Message = "line\nline"
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadResult(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	if want := "line\ufffdline"; got.Error.Message != want {
		t.Errorf("got %q, want %q", got.Error.Message, want)
	}
	if m := got.Evidence.Message; !strings.HasPrefix(m, "<html>\ufffd\ufffd\ufffdxxx") || !strings.HasSuffix(m, "x…") || len(m) > 1024 {
		t.Errorf("got %d bytes: %q", len(m), m)
	}
	if strings.Contains(r.Error.Message, "\ufffd") || len(r.Evidence.Message) < 5000 {
		t.Error("the result itself was changed")
	}
}

func resultText(t *testing.T, r Result) string {
	t.Helper()
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tolerated are changes to the text of kvResult that a reader ignores.
var tolerated = []struct{ name, old, new string }{
	{"a new field", `"attempts":1`, `"attempts":1,"region":{"name":"eu"}`},
	{"a new field in the evidence", `"call_requests":1`, `"call_requests":1,"tls":"1.3"`},
	{"an extension", `"subject"`, `"tenant":"a","subject"`},
	{"extensions of any kind and name", `"subject"`, `"Tenant":{"a":[1]},"ten_ant":1,"traceparent":"","tracestate":5,"subject"`},
	{"a trace", `"subject"`, `"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","subject"`},
}

func TestReadResultIgnoresNewFields(t *testing.T) {
	for _, test := range tolerated {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadResult(nil, []byte(in(resultText(t, kvResult), test.old, test.new)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(kvResult, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadResultAcceptsCodesOfNewerVersions(t *testing.T) {
	s := schema(t, "result.json")
	for _, test := range []struct {
		name    string
		outcome Outcome
		code    string
		ok      bool
	}{
		{"an unknown code of failed", Failed, "gave-up-2", true},
		{"an unknown code of invalid", Invalid, "too-old", true},
		{"64 characters", Failed, strings.Repeat("a", 64), true},
		{"65 characters", Failed, strings.Repeat("a", 65), false},
		{"no code", Failed, "", false},
		{"upper case", Failed, "Gave-up", false},
		{"an underscore", Failed, "gave_up", false},
		{"an escape sequence", Failed, `\u001b[2J`, false},
		{"a code of failed on invalid", Invalid, string(CodeRefusedByAPI), false},
		{"a code of invalid on failed", Failed, string(CodeIDReused), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			known := resultOf(test.outcome, map[Outcome]Code{Failed: CodeUnexpectedAnswer, Invalid: CodeRejectedByAPI}[test.outcome])
			text := in(resultText(t, known), `"code":"`+string(known.Error.Code)+`"`, `"code":"`+test.code+`"`)
			got, err := ReadResult(nil, []byte(text))
			if test.ok && (err != nil || string(got.Error.Code) != test.code || got.Outcome != test.outcome) {
				t.Errorf("got %+v, %v", got, err)
			}
			if !test.ok {
				wantInvalid(t, err, CodeMalformedEvent, "data.error.code")
			}
			if seen := fits(s, text); (seen == nil) != test.ok {
				t.Errorf("the schema says %v", seen)
			}
			if test.ok {
				if _, err := got.Encode(); err == nil {
					t.Error("this version writes a code that it does not know")
				}
			}
		})
	}
}

// wrongResults are changes that make kvResult invalid.
var wrongResults = []struct {
	name, old, new string
	code           Code
	field          string
	unseen         bool // by a JSON Schema
}{
	{"bytes after the end", `{"specversion"`, `{} {"specversion"`, CodeMalformedEvent, "body", true},
	{"a repeated key", `"final":true`, `"final":true,"final":true`, CodeMalformedEvent, "data.final", true},
	{"a key in another case", `"final"`, `"Final"`, CodeMalformedEvent, "data.Final", false},
	{"a key in another case as well", `"final":true`, `"final":true,"OUTCOME":"failed"`, CodeMalformedEvent, "data.OUTCOME", true},
	{"another type than outcome", `deletion.deleted.v1`, `deletion.failed.v1`, CodeMalformedEvent, "type", false},
	{"a type of another version", `deletion.deleted.v1`, `deletion.deleted.v2`, CodeMalformedEvent, "type", false},
	{"a request", `lethe.deletion.deleted.v1`, RequestType, CodeMalformedEvent, "type", false},
	{"no subject", `"subject":"req-1",`, ``, CodeMalformedEvent, "subject", false},
	{"another subject", `"subject":"req-1"`, `"subject":"req-2"`, CodeMalformedEvent, "subject", true},
	{"no time", `"time":"2026-11-23T12:00:00Z",`, ``, CodeMalformedEvent, "time", false},
	{"not final", `"final":true`, `"final":false`, CodeMalformedEvent, "data.final", false},
	{"no outcome", `"outcome":"deleted",`, ``, CodeMalformedEvent, "data.outcome", false},
	{"attempts as a string", `"attempts":1`, `"attempts":"1"`, CodeMalformedEvent, "data.attempts", false},
	{"attempts with a fraction", `"attempts":1`, `"attempts":1.5`, CodeMalformedEvent, "data.attempts", false},
	{"negative attempts", `"attempts":1`, `"attempts":-1`, CodeMalformedEvent, "data.attempts", false},
	{"an id past 2^63-1", `[10,11]`, `[9223372036854775808]`, CodeMalformedEvent, "data.ids[0]", false},
	{"an id that is zero", `[10,11]`, `[0]`, CodeInvalidResource, "data.ids[0]", false},
	{"no ids", `"ids":[10,11],`, ``, CodeInvalidResource, "data", false},
	{"another target's fields", `"ids":[10,11],`, `"ids":[10,11],"knowledge_base_id":1,`, CodeInvalidResource, "data.knowledge_base_id", false},
	{"an unknown target", `"target":"kv-user-context"`, `"target":"x"`, CodeUnknownTarget, "data.target", false},
	{"evidence that is a list", `"evidence":{`, `"evidence":[],"other":{`, CodeMalformedEvent, "data.evidence", false},
	{"an invalid time", `"observed_at":"2026-11-23T12:00:00Z"`, `"observed_at":"noon"`, CodeMalformedEvent, "data.evidence.observed_at", false},
	{"an error", `"attempts":1`, `"attempts":1,"error":{"code":"id-reused","message":""}`, CodeMalformedEvent, "data.error", false},
}

func TestReadResultRefuses(t *testing.T) {
	for _, test := range wrongResults {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadResult(nil, []byte(in(resultText(t, kvResult), test.old, test.new)))
			wantInvalid(t, err, test.code, test.field)
		})
	}
}
