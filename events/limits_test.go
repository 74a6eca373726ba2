package events

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Each limit of the contract is tested with values at and just above it. The test uses
// numbers instead of the constants, so that a changed constant fails.
func TestLimitsOfARequest(t *testing.T) {
	withSource := func(source string) string { return in(kvEvent, `"/crm"`, `"`+source+`"`) }
	deep := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
	padded := func(body string, size int) string { return body + strings.Repeat(" ", size-len(body)) }
	// The headers of binaryMode, each as one line.
	size := 0
	for name, values := range binaryMode(nil) {
		size += len(name) + len(values[0]) + 4
	}
	structured := header{"content-type": {ContentType}}
	structuredSize := len("content-type: " + ContentType + "\r\n")
	note := func(of header, size int) header {
		of["ce-note"] = []string{strings.Repeat("x", size-len("ce-note: \r\n"))}
		return of
	}
	for _, test := range []struct {
		name         string
		within, over func() (header, string)
		field        string
	}{
		{"64 KiB", func() (header, string) { return nil, padded(kvEvent, 65536) }, func() (header, string) { return nil, padded(kvEvent, 65537) }, "body"},
		{
			"64 KiB with headers", func() (header, string) { return binaryMode(nil), padded(kvBody, 65536-size) },
			func() (header, string) { return binaryMode(nil), padded(kvBody, 65537-size) }, "body",
		},
		{
			"32 KiB of headers", func() (header, string) { return note(binaryMode(nil), 32768-size), kvBody },
			func() (header, string) { return note(binaryMode(nil), 32769-size), kvBody }, "headers",
		},
		{
			"32 KiB of headers beside an event", func() (header, string) {
				return note(header{"content-type": structured["content-type"]}, 32768-structuredSize), kvEvent
			},
			func() (header, string) {
				return note(header{"content-type": structured["content-type"]}, 32769-structuredSize), kvEvent
			}, "headers",
		},
		{
			"32 levels", func() (header, string) { return nil, in(kvEvent, `"source"`, `"note":`+deep(31)+`,"source"`) },
			func() (header, string) { return nil, in(kvEvent, `"source"`, `"note":`+deep(32)+`,"source"`) }, "body",
		},
		{
			"a source of 2,048 bytes", func() (header, string) { return nil, withSource(strings.Repeat("/", 2048)) },
			func() (header, string) { return nil, withSource(strings.Repeat("/", 2049)) }, "source",
		},
		{
			"an id of 64 characters", func() (header, string) { return nil, in(kvEvent, "req-1", strings.Repeat("x", 64)) },
			func() (header, string) { return nil, in(kvEvent, "req-1", strings.Repeat("x", 65)) }, "id",
		},
		{
			"an id of one character", func() (header, string) { return nil, in(kvEvent, "req-1", "x") },
			func() (header, string) { return nil, in(kvEvent, "req-1", "") }, "id",
		},
		{"100 ids", func() (header, string) { return nil, kvIDs(numbers(100)) }, func() (header, string) { return nil, kvIDs(numbers(101)) }, "data.ids"},
		{"one id", func() (header, string) { return nil, kvIDs("[1]") }, func() (header, string) { return nil, kvIDs("[]") }, "data.ids"},
		{"1", func() (header, string) { return nil, kvIDs("[1]") }, func() (header, string) { return nil, kvIDs("[0]") }, "data.ids[0]"},
		{
			"2^63-1", func() (header, string) { return nil, kvIDs("[9223372036854775807]") },
			func() (header, string) { return nil, kvIDs("[9223372036854775808]") }, "data.ids[0]",
		},
		{
			"the year 9999", func() (header, string) {
				return nil, in(kvEvent, `"source"`, `"time":"9999-12-31T23:59:59.999999999Z","source"`)
			},
			func() (header, string) {
				return nil, in(kvEvent, `"source"`, `"time":"9999-12-31T23:59:59.999999999-00:01","source"`)
			}, "time",
		},
		{
			"the year 0", func() (header, string) { return nil, in(kvEvent, `"source"`, `"time":"0000-01-01T00:00:00Z","source"`) },
			func() (header, string) {
				return nil, in(kvEvent, `"source"`, `"time":"0000-01-01T00:00:00+00:01","source"`)
			}, "time",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			header, body := test.within()
			if _, err := ReadRequest(KVUserContext, header, []byte(body)); err != nil {
				t.Errorf("refused: %v", err)
			}
			header, body = test.over()
			_, err := ReadRequest(KVUserContext, header, []byte(body))
			if problem, ok := errors.AsType[*InvalidError](err); !ok || problem.Field != test.field {
				t.Errorf("one more: got %v, want an InvalidError at %s", err, test.field)
			}
		})
	}
}

func TestLimitsOfData(t *testing.T) {
	for levels, want := range map[int]string{31: "data.note", 32: "data"} {
		body := `{"target":"kv-user-context","ids":[1],"note":` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + `}`
		_, err := ReadRequest(KVUserContext, binaryMode(nil), []byte(body))
		wantInvalid(t, err, map[int]Code{31: CodeInvalidResource, 32: CodeMalformedEvent}[levels], want)
	}
}

func TestLimitOfTheSearchForAnID(t *testing.T) {
	for size, want := range map[int]string{1048576: "req-1", 1048577: ""} {
		r, err := ReadRequest(KVUserContext, nil, []byte(kvEvent+strings.Repeat(" ", size-len(kvEvent))))
		if err == nil || r.ID != want {
			t.Errorf("%d bytes: %q, %v", size, r.ID, err)
		}
	}
}

func TestLimitsOfAResult(t *testing.T) {
	for _, test := range []struct {
		name         string
		within, over func(r *Result)
		field        string
	}{
		{
			"a status from 100 on", func(r *Result) { r.Evidence = &Evidence{Status: 100, ObservedAt: noon} },
			func(r *Result) { r.Evidence = &Evidence{Status: 99, ObservedAt: noon} }, "data.evidence.status",
		},
		{
			"a status up to 999", func(r *Result) { r.Evidence = &Evidence{Status: 999, ObservedAt: noon} },
			func(r *Result) { r.Evidence = &Evidence{Status: 1000, ObservedAt: noon} }, "data.evidence.status",
		},
		{
			"no requests of a call", func(r *Result) { r.Evidence = &Evidence{Status: 200, ObservedAt: noon} },
			func(r *Result) { r.Evidence = &Evidence{Status: 200, ObservedAt: noon, CallRequests: -1} }, "data.evidence.call_requests",
		},
		{"one attempt", func(r *Result) { r.Attempts = 1 }, func(r *Result) { r.Attempts = 0 }, "data.attempts"},
		{
			"an event id of ! and ~", func(r *Result) { r.EventID = "!~" },
			func(r *Result) { r.EventID = "a\x7f" }, "id",
		},
		{"an event id of one character", func(r *Result) { r.EventID = "!" }, func(r *Result) { r.EventID = "a b" }, "id"},
		{
			"a request id of 64 characters", func(r *Result) { r.RequestID = strings.Repeat("x", 64) },
			func(r *Result) { r.RequestID = strings.Repeat("x", 65) }, "data.request_id",
		},
		{
			"a request source of 2,048 bytes", func(r *Result) { r.RequestSource = strings.Repeat("/", 2048) },
			func(r *Result) { r.RequestSource = strings.Repeat("/", 2049) }, "data.request_source",
		},
		{
			"the year 9999", func(r *Result) { r.Time = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) },
			func(r *Result) { r.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "time",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := kvResult
			test.within(&r)
			if _, err := r.Encode(); err != nil {
				t.Errorf("refused: %v", err)
			}
			r = kvResult
			test.over(&r)
			_, err := r.Encode()
			wantInvalid(t, err, CodeMalformedEvent, test.field)
		})
	}
	t.Run("a message of 1,024 bytes", func(t *testing.T) {
		for size, want := range map[int]string{1024: strings.Repeat("x", 1024), 1025: strings.Repeat("x", 1021) + "…"} {
			r := resultOf(Failed, CodeRetriesExhausted)
			r.Error = &ResultError{Code: CodeRetriesExhausted, Message: strings.Repeat("x", size)}
			if got := resultText(t, r); !strings.Contains(got, `"message":"`+want+`"}`) {
				t.Errorf("%d bytes are cut to %s", size, got)
			}
		}
	})
	t.Run("1 MiB", func(t *testing.T) {
		text := resultText(t, kvResult)
		if _, err := ReadResult(nil, []byte(text+strings.Repeat(" ", 1048576-len(text)))); err != nil {
			t.Error(err)
		}
		_, err := ReadResult(nil, []byte(text+strings.Repeat(" ", 1048577-len(text))))
		wantInvalid(t, err, CodeMalformedEvent, "body")
	})
}

func TestLimitOfATraceState(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for size, kept := range map[int]bool{512: true, 513: false} {
		given := "a=" + strings.Repeat("b", size-2)
		if _, state := traceContext(parent, given); (state == given) != kept {
			t.Errorf("%d bytes: %q", size, state)
		}
	}
	for _, state := range []string{"a= ~", "a=b"} {
		if _, got := traceContext(parent, state); got != state {
			t.Errorf("%q became %q", state, got)
		}
	}
	if _, got := traceContext(parent, "a=\x7f"); got != "" {
		t.Errorf("kept %q", got)
	}
}

func TestErrorsAreCutAtTheirLimits(t *testing.T) {
	for _, test := range []struct{ field, reason, want string }{
		{strings.Repeat("f", 120), strings.Repeat("r", 384), strings.Repeat("f", 120) + ": " + strings.Repeat("r", 384)},
		{strings.Repeat("f", 121), strings.Repeat("r", 385), strings.Repeat("f", 117) + "…: " + strings.Repeat("r", 381) + "…"},
	} {
		for name, err := range map[string]error{
			"by malformed":       malformed(test.field, "%s", test.reason),
			"by another package": &InvalidError{Field: test.field, Reason: test.reason},
		} {
			if got := err.Error(); got != test.want {
				t.Errorf("%s: %d and %d bytes become %q", name, len(test.field), len(test.reason), got)
			}
		}
	}
	for size, want := range map[int]string{48: strings.Repeat("v", 48), 49: strings.Repeat("v", 45) + "…"} {
		if got := quote(strings.Repeat("v", size)); got != `"`+want+`"` {
			t.Errorf("%d bytes: %s", size, got)
		}
	}
}

func TestHeaderValuesAreDecoded(t *testing.T) {
	for value, want := range map[string]string{
		"":            "",
		`"`:           `"`,
		`""`:          "",
		`"a`:          `"a`,
		`a"`:          `a"`,
		`"a\"b\\c"`:   `a"b\c`,
		`"a\"`:        `a\`,
		`a\b`:         `a\b`,
		"%":           "%",
		"%4":          "%4",
		"%41":         "A",
		"%4g":         "%4g",
		"%41%":        "%41%",
		"a%25b":       "a%b",
		"%2525":       "%25",
		"a+b":         "a+b",
		"50% off":     "50% off",
		"%C0%A0":      "%C0%A0",
		"%e2%82%ac":   "€",
		`"100%"`:      `"100%"`,
		`"%22"`:       `"`,
		"\xff":        "\xff",
		"Euro%20\xe2": "Euro%20\xe2",
	} {
		if got := decodeHeader(value); got != want {
			t.Errorf("%q became %q, want %q", value, got, want)
		}
	}
}

func TestARequestWithoutAResourceHasNoTarget(t *testing.T) {
	if got := (Request{}).Target(); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestNewResource(t *testing.T) {
	const replica = "03db5651-cb61-4bdf-9ef0-89561f7c9c53"
	for _, test := range []struct {
		name   string
		target Target
		fields ResourceFields
		code   Code
		field  string
	}{
		{"contexts", KVUserContext, ResourceFields{IDs: []int64{1, 2}}, "", ""},
		{"an entry", SensayKnowledgeBase, ResourceFields{ReplicaUUID: replica, KnowledgeBaseID: 1}, "", ""},
		{"an unknown target", "x", ResourceFields{IDs: []int64{1}}, CodeUnknownTarget, "data.target"},
		{"no ids", KVUserContext, ResourceFields{}, CodeInvalidResource, "data.ids"},
		{"ids of a wrong range", KVUserContext, ResourceFields{IDs: []int64{0}}, CodeInvalidResource, "data.ids[0]"},
		{"contexts with a replica", KVUserContext, ResourceFields{IDs: []int64{1}, ReplicaUUID: replica}, CodeInvalidResource, "data.replica_uuid"},
		{"contexts with an entry", KVUserContext, ResourceFields{IDs: []int64{1}, KnowledgeBaseID: 1}, CodeInvalidResource, "data.knowledge_base_id"},
		{"an entry with ids", SensayKnowledgeBase, ResourceFields{IDs: []int64{}, ReplicaUUID: replica, KnowledgeBaseID: 1}, CodeInvalidResource, "data.ids"},
		{"no replica", SensayKnowledgeBase, ResourceFields{KnowledgeBaseID: 1}, CodeInvalidResource, "data.replica_uuid"},
		{"a replica in braces", SensayKnowledgeBase, ResourceFields{ReplicaUUID: "{" + replica + "}", KnowledgeBaseID: 1}, CodeInvalidResource, "data.replica_uuid"},
		{"the nil replica", SensayKnowledgeBase, ResourceFields{ReplicaUUID: "00000000-0000-0000-0000-000000000000", KnowledgeBaseID: 1}, CodeInvalidResource, "data.replica_uuid"},
		{"no entry", SensayKnowledgeBase, ResourceFields{ReplicaUUID: replica}, CodeInvalidResource, "data.knowledge_base_id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, err := NewResource(test.target, test.fields)
			if test.code != "" {
				wantInvalid(t, err, test.code, test.field)
				return
			}
			if err != nil || res.Target() != test.target {
				t.Errorf("got %v, %v", res, err)
			}
		})
	}
}
