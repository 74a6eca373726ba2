package events

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

const (
	kvEvent = `{"specversion":"1.0","id":"req-1","source":"/crm","type":"lethe.deletion.requested.v1",` +
		`"data":{"target":"kv-user-context","ids":[10,11]}}`
	sensayEvent = `{"specversion":"1.0","id":"req-1","source":"/crm","type":"lethe.deletion.requested.v1",` +
		`"data":{"target":"sensay-knowledge-base","replica_uuid":"03db5651-cb61-4bdf-9ef0-89561f7c9c53","knowledge_base_id":12345}}`
)

var (
	kvRequest     = Request{ID: "req-1", Source: "/crm", Resource: UserContexts{IDs: []int64{10, 11}}}
	sensayRequest = Request{ID: "req-1", Source: "/crm", Resource: KnowledgeBaseEntry{
		ReplicaUUID: uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"), KnowledgeBaseID: 12345,
	}}
)

// in replaces one part of an event.
func in(event, old, new string) string {
	if strings.Count(event, old) != 1 {
		panic(fmt.Sprintf("the event does not contain %q exactly once", old))
	}
	return strings.Replace(event, old, new, 1)
}

func kvData(data string) string {
	return in(kvEvent, `{"target":"kv-user-context","ids":[10,11]}`, data)
}

func kvIDs(ids string) string { return in(kvEvent, `[10,11]`, ids) }

func numbers(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprint(i+1))
	}
	return "[" + strings.Join(list, ",") + "]"
}

func numberIDs(n int) []int64 {
	var ids []int64
	for i := range n {
		ids = append(ids, int64(i+1))
	}
	return ids
}

// accepted are valid bodies in structured mode.
var accepted = []struct {
	name, body string
	want       func(r *Request)
}{
	{"a request for user contexts", kvEvent, nil},
	{"a request for a knowledge-base entry", sensayEvent, nil},
	{"a UUID in upper case", in(sensayEvent, "03db5651-cb61-4bdf-9ef0-89561f7c9c53", "03DB5651-CB61-4BDF-9EF0-89561F7C9C53"), nil},
	{"white space around everything", " \n" + in(kvEvent, `:[10,11]`, ` : [ 10 , 11 ] `) + "\t", nil},
	{"the largest id, exact", kvIDs("[9223372036854775807]"), func(r *Request) {
		r.Resource = UserContexts{IDs: []int64{9223372036854775807}}
	}},
	{"an id that a float64 would round", kvIDs("[9007199254740993]"), func(r *Request) {
		r.Resource = UserContexts{IDs: []int64{9007199254740993}}
	}},
	{"a hundred ids", kvIDs(numbers(100)), func(r *Request) { r.Resource = UserContexts{IDs: numberIDs(100)} }},
	{"a time, in UTC", in(kvEvent, `"source"`, `"time":"2026-11-23T13:00:00.123456789+01:00","source"`), func(r *Request) {
		r.Time = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
	}},
	{"a media type of data", in(kvEvent, `"source"`, `"datacontenttype":"Application/JSON; charset=utf-8","source"`), nil},
	{"a media type built on JSON", in(kvEvent, `"source"`, `"datacontenttype":"application/vnd.crm+json","source"`), nil},
	{"optional attributes that are null", in(kvEvent, `"source"`, `"time":null,"subject":null,"traceparent":null,"source"`), nil},
	{"extensions", in(kvEvent, `"source"`, `"priority":3,"dryrun":false,"tenant":"north","source"`), nil},
	{"data in base64", kvData("X")[:len(kvData("X"))-len(`"data":X}`)] + `"data_base64":"` +
		base64.StdEncoding.EncodeToString([]byte(`{"target":"kv-user-context","ids":[10,11]}`)) + `"}`, nil},
	{"an escaped key", in(kvEvent, `"id"`, `"\u0069d"`), nil},
	{"a URN as its source", in(kvEvent, `"/crm"`, `"urn:crm:erasure"`), func(r *Request) { r.Source = "urn:crm:erasure" }},
	{"a trace context", in(kvEvent, `"source"`, `"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=1","source"`),
		func(r *Request) {
			r.TraceParent, r.TraceState = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1"
		}},
	{"an invalid trace context, which is dropped", in(kvEvent, `"source"`, `"traceparent":"00-xyz-01","tracestate":"a=1","source"`), nil},
	{"an empty trace context", in(kvEvent, `"source"`, `"traceparent":"","tracestate":"","source"`), nil},
	{"a trace in another case", in(kvEvent, `"source"`, `"traceParent":"","TRACESTATE":1,"source"`), nil},
	{"a trace context that is not a string", in(kvEvent, `"source"`, `"traceparent":{"a":[]},"tracestate":1,"source"`), nil},
	{"a trace with an empty state", in(kvEvent, `"source"`, `"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"","source"`),
		func(r *Request) { r.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" }},
	{"an event from Dapr", `{"data":{"target":"kv-user-context","ids":[10,11]},"datacontenttype":"application/json","id":"req-1",` +
		`"pubsubname":"deletions","source":"/crm","specversion":"1.0","time":"2026-11-23T12:00:00Z","topic":"deletions.requests.kv-user-context",` +
		`"traceid":"","traceparent":"","tracestate":"","type":"lethe.deletion.requested.v1"}`, func(r *Request) {
		r.Time = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	}},
	{"extensions of any kind", in(kvEvent, `"source"`, `"a":{"b":[{"c":null}]},"d":[],"e":"","f":null,"g":1e999999,"h":true,"source"`), nil},
	{"extensions of any name", in(kvEvent, `"source"`, `"":1,"Tenant":"a","tenant":"b","ten_ant":"c","my-ext":"d","tänant":"e","ids":[1],"source"`), nil},
	{"an extension of 31 levels within the event", in(kvEvent, `"source"`, `"tenant":`+strings.Repeat("[", 31)+strings.Repeat("]", 31)+`,"source"`), nil},
	{"brackets within a text", in(kvEvent, `"source"`, `"note":"`+strings.Repeat(`[{\\\"`, 33)+`","source"`), nil},
	{"an id that only looks reserved", in(kvEvent, "req-1", "seq-1a"), func(r *Request) { r.ID = "seq-1a" }},
	{"an id of digits", in(kvEvent, "req-1", "12345"), func(r *Request) { r.ID = "12345" }},
	{"an id that begins as a reserved one", in(kvEvent, "req-1", "seq-"), func(r *Request) { r.ID = "seq-" }},
	{"64 characters of id", in(kvEvent, "req-1", strings.Repeat("x", 64)), func(r *Request) { r.ID = strings.Repeat("x", 64) }},
	{"exactly 64 KiB", kvEvent + strings.Repeat(" ", MaxEventBytes-len(kvEvent)), nil},
}

func TestReadRequestAcceptsStructured(t *testing.T) {
	for _, test := range accepted {
		t.Run(test.name, func(t *testing.T) {
			want := kvRequest
			if strings.Contains(test.body, "sensay") {
				want = sensayRequest
			}
			if test.want != nil {
				test.want(&want)
			}
			got, err := ReadRequest(want.Target(), nil, []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// refused are invalid bodies in structured mode.
var refused = []struct {
	name  string
	body  string
	code  Code
	field string
	// unnamed means that the event has no usable id.
	unnamed bool
	// unseen means that a JSON Schema cannot detect the error.
	unseen bool
}{
	{"nothing", "", CodeMalformedEvent, "body", true, true},
	{"white space", " \n", CodeMalformedEvent, "body", true, true},
	{"no JSON", "hello", CodeMalformedEvent, "body", true, true},
	{"an array", "[" + kvEvent + "]", CodeMalformedEvent, "body", true, false},
	{"half an event", kvEvent[:len(kvEvent)-1], CodeMalformedEvent, "body", true, true},
	{"bytes after the end", kvEvent + "x", CodeMalformedEvent, "body", true, true},
	{"a second event after the end", kvEvent + kvEvent, CodeMalformedEvent, "body", true, true},
	{"a byte order mark", "\ufeff" + kvEvent, CodeMalformedEvent, "body", true, true},
	{"a comment", "/**/" + kvEvent, CodeMalformedEvent, "body", true, true},
	{"a comma too many", kvIDs("[10,]"), CodeMalformedEvent, "body", true, true},
	{"a number with a leading zero", kvIDs("[010]"), CodeMalformedEvent, "body", true, true},
	{"broken UTF-8", in(kvEvent, `"source"`, "\"note\":\"\xff\",\"source\""), CodeMalformedEvent, "body", false, true},
	{"half a surrogate pair", in(kvEvent, `"source"`, `"note":"\ud800","source"`), CodeMalformedEvent, "body", false, true},
	{"over 64 KiB", kvEvent + strings.Repeat(" ", MaxEventBytes), CodeMalformedEvent, "body", false, true},
	{"over 1 MiB", kvEvent + strings.Repeat(" ", maxIdentityBytes), CodeMalformedEvent, "body", true, true},
	{"33 levels", kvData(`{"target":"kv-user-context","ids":[10],"x":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`), CodeMalformedEvent, "body", false, true},
	{"5,000 levels", kvData(strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), CodeMalformedEvent, "body", false, true},
	{"20,000 levels", kvData(strings.Repeat("[", 20000) + strings.Repeat("]", 20000)), CodeMalformedEvent, "body", true, true},

	{"a repeated key", in(kvEvent, `"source"`, `"source":"/a","source"`), CodeMalformedEvent, "source", false, true},
	{"a repeated key in data", kvData(`{"target":"kv-user-context","ids":[10],"ids":[11]}`), CodeMalformedEvent, "data.ids", false, true},
	{"a repeated key deep in data", kvData(`{"target":"kv-user-context","ids":[10,{"a":1,"a":2}]}`), CodeMalformedEvent, "data.ids[1].a", false, true},
	{"a repeated key in another spelling", kvData(`{"target":"kv-user-context","ids":[10],"\u0069ds":[11]}`), CodeMalformedEvent, "data.ids", false, true},
	{"two ids", in(kvEvent, `"source"`, `"id":"req-2","source"`), CodeMalformedEvent, "id", true, true},
	{"two ids in different case", in(kvEvent, `"source"`, `"ID":"req-2","source"`), CodeMalformedEvent, "ID", true, true},
	{"an id in upper case", in(kvEvent, `"id"`, `"Id"`), CodeMalformedEvent, "Id", false, false},
	{"a key in upper case in data", kvData(`{"Target":"kv-user-context","ids":[10]}`), CodeMalformedEvent, "data.Target", false, false},
	{"a key in another case beside the right one", kvData(`{"target":"kv-user-context","ids":[10],"IDS":[11]}`), CodeMalformedEvent, "data.IDS", false, false},
	{"a key that only Unicode folds", kvData(`{"target":"kv-user-context","idſ":[10]}`), CodeMalformedEvent, "data.idſ", false, false},
	{"another target's key in another case", kvData(`{"target":"kv-user-context","ids":[10],"Replica_UUID":"x"}`), CodeMalformedEvent, "data.Replica_UUID", false, false},
	{"data in upper case", in(kvEvent, `"data"`, `"Data"`), CodeMalformedEvent, "Data", false, false},
	{"a repeated extension", in(kvEvent, `"source"`, `"tenant":"a","tenant":"a","source"`), CodeMalformedEvent, "tenant", false, true},
	{"a repeated key within an extension", in(kvEvent, `"source"`, `"tenant":{"a":1,"a":1},"source"`), CodeMalformedEvent, "tenant.a", false, true},
	{"an extension of 32 levels within the event", in(kvEvent, `"source"`, `"tenant":`+strings.Repeat("[", 32)+strings.Repeat("]", 32)+`,"source"`), CodeMalformedEvent, "body", false, true},

	{"no specversion", in(kvEvent, `"specversion":"1.0",`, ``), CodeMalformedEvent, "specversion", false, false},
	{"an older specversion", in(kvEvent, `"1.0"`, `"0.3"`), CodeMalformedEvent, "specversion", false, false},
	{"specversion as a number", in(kvEvent, `"1.0"`, `1.0`), CodeMalformedEvent, "specversion", false, false},
	{"no id", in(kvEvent, `"id":"req-1",`, ``), CodeMalformedEvent, "id", true, false},
	{"an id that is null", in(kvEvent, `"req-1"`, `null`), CodeMalformedEvent, "id", true, false},
	{"an id that is a number", in(kvEvent, `"req-1"`, `1`), CodeMalformedEvent, "id", true, false},
	{"an empty id", in(kvEvent, `"req-1"`, `""`), CodeMalformedEvent, "id", true, false},
	{"65 characters of id", in(kvEvent, `req-1`, strings.Repeat("x", 65)), CodeMalformedEvent, "id", true, false},
	{"a dot in the id", in(kvEvent, `req-1`, `req.1`), CodeMalformedEvent, "id", true, false},
	{"a star as the id", in(kvEvent, `req-1`, `*`), CodeMalformedEvent, "id", true, false},
	{"a full wildcard as the id", in(kvEvent, `req-1`, `>`), CodeMalformedEvent, "id", true, false},
	{"a space in the id", in(kvEvent, `req-1`, `req 1`), CodeMalformedEvent, "id", true, false},
	{"a line break in the id", in(kvEvent, `req-1`, `req\n1`), CodeMalformedEvent, "id", true, false},
	{"an id that is not ASCII", in(kvEvent, `req-1`, `réq-1`), CodeMalformedEvent, "id", true, false},
	{"a reserved id", in(kvEvent, `req-1`, `seq-17`), CodeMalformedEvent, "id", true, false},
	{"no source", in(kvEvent, `"source":"/crm",`, ``), CodeMalformedEvent, "source", false, false},
	{"an empty source", in(kvEvent, `"/crm"`, `""`), CodeMalformedEvent, "source", false, false},
	{"a source with a space", in(kvEvent, `"/crm"`, `"/c rm"`), CodeMalformedEvent, "source", false, false},
	{"a source with a space before hexadecimal digits", in(kvEvent, `"/crm"`, `"/c add"`), CodeMalformedEvent, "source", false, false},
	{"a source without a scheme", in(kvEvent, `"/crm"`, `":crm"`), CodeMalformedEvent, "source", false, false},
	{"a source with half an address", in(kvEvent, `"/crm"`, `"//[::1"`), CodeMalformedEvent, "source", false, false},
	{"a source with half an escape", in(kvEvent, `"/crm"`, `"/c%2"`), CodeMalformedEvent, "source", false, false},
	{"a source with a wrong port", in(kvEvent, `"/crm"`, `"http://a:b/"`), CodeMalformedEvent, "source", false, false},
	{"no type", in(kvEvent, `"type":"lethe.deletion.requested.v1",`, ``), CodeMalformedEvent, "type", false, false},
	{"another type", in(kvEvent, `requested.v1`, `requested.v2`), CodeMalformedEvent, "type", false, false},
	{"a type in another case", in(kvEvent, `lethe.deletion`, `Lethe.deletion`), CodeMalformedEvent, "type", false, false},
	{"a time without a zone", in(kvEvent, `"source"`, `"time":"2026-11-23T12:00:00","source"`), CodeMalformedEvent, "time", false, false},
	{"a time with a comma", in(kvEvent, `"source"`, `"time":"2026-11-23T12:00:00,5Z","source"`), CodeMalformedEvent, "time", false, false},
	{"a time on a day that does not exist", in(kvEvent, `"source"`, `"time":"2026-02-30T12:00:00Z","source"`), CodeMalformedEvent, "time", false, false},
	{"a time as a number", in(kvEvent, `"source"`, `"time":1795608000,"source"`), CodeMalformedEvent, "time", false, false},
	{"data that is XML", in(kvEvent, `"source"`, `"datacontenttype":"application/xml","source"`), CodeMalformedEvent, "datacontenttype", false, false},
	{"an invalid media type", in(kvEvent, `"source"`, `"datacontenttype":"json","source"`), CodeMalformedEvent, "datacontenttype", false, false},
	{"an empty subject", in(kvEvent, `"source"`, `"subject":"","source"`), CodeMalformedEvent, "subject", false, false},

	{"no data", in(kvEvent, `,"data":{"target":"kv-user-context","ids":[10,11]}`, ``), CodeMalformedEvent, "data", false, false},
	{"data that is null", kvData(`null`), CodeMalformedEvent, "data", false, false},
	{"data that is a string", kvData(`"{}"`), CodeMalformedEvent, "data", false, false},
	{"data that is an array", kvData(`[]`), CodeMalformedEvent, "data", false, false},
	{"data twice", in(kvEvent, `"source"`, `"data_base64":"e30=","source"`), CodeMalformedEvent, "data_base64", false, false},
	{"invalid base64", in(kvEvent, `"data":{"target":"kv-user-context","ids":[10,11]}`, `"data_base64":"%"`), CodeMalformedEvent, "data_base64", false, true},
	{"base64 as a number", in(kvEvent, `"data":{"target":"kv-user-context","ids":[10,11]}`, `"data_base64":1`), CodeMalformedEvent, "data_base64", false, false},
	{"base64 of no JSON", in(kvEvent, `"data":{"target":"kv-user-context","ids":[10,11]}`, `"data_base64":"aGVsbG8="`), CodeMalformedEvent, "data", false, true},

	{"no target", kvData(`{"ids":[10]}`), CodeMalformedEvent, "data.target", false, false},
	{"a target that is null", kvData(`{"target":null,"ids":[10]}`), CodeMalformedEvent, "data.target", false, false},
	{"a target that is a number", kvData(`{"target":1,"ids":[10]}`), CodeMalformedEvent, "data.target", false, false},
	{"an unknown target", kvData(`{"target":"kv-user-contexts","ids":[10]}`), CodeUnknownTarget, "data.target", false, false},
	{"an empty target", kvData(`{"target":"","ids":[10]}`), CodeUnknownTarget, "data.target", false, false},
	{"a target in another case", kvData(`{"target":"KV-user-context","ids":[10]}`), CodeUnknownTarget, "data.target", false, false},
	{"another subject's target", sensayEvent, CodeTargetMismatch, "data.target", false, true},

	{"no ids", kvData(`{"target":"kv-user-context"}`), CodeInvalidResource, "data.ids", false, false},
	{"ids that are null", kvIDs(`null`), CodeInvalidResource, "data.ids", false, false},
	{"ids that are one number", kvIDs(`10`), CodeInvalidResource, "data.ids", false, false},
	{"ids that are an object", kvIDs(`{"0":10}`), CodeInvalidResource, "data.ids", false, false},
	{"an empty list of ids", kvIDs(`[]`), CodeInvalidResource, "data.ids", false, false},
	{"101 ids", kvIDs(numbers(101)), CodeInvalidResource, "data.ids", false, false},
	{"a repeated number", kvIDs(`[10,11,10]`), CodeInvalidResource, "data.ids[2]", false, false},
	{"an id that is a string", kvIDs(`[10,"11"]`), CodeInvalidResource, "data.ids[1]", false, false},
	{"an id in the list that is null", kvIDs(`[null]`), CodeInvalidResource, "data.ids[0]", false, false},
	{"an id that is a list", kvIDs(`[[10]]`), CodeInvalidResource, "data.ids[0]", false, false},
	{"an id that is a boolean", kvIDs(`[true]`), CodeInvalidResource, "data.ids[0]", false, false},
	{"zero", kvIDs(`[0]`), CodeInvalidResource, "data.ids[0]", false, false},
	{"minus zero", kvIDs(`[-0]`), CodeInvalidResource, "data.ids[0]", false, false},
	{"a negative id", kvIDs(`[-10]`), CodeInvalidResource, "data.ids[0]", false, false},
	{"a fraction", kvIDs(`[1.0]`), CodeInvalidResource, "data.ids[0]", false, true},
	{"an exponent", kvIDs(`[1e3]`), CodeInvalidResource, "data.ids[0]", false, true},
	{"2^63", kvIDs(`[9223372036854775808]`), CodeInvalidResource, "data.ids[0]", false, false},
	{"2^64 and one", kvIDs(`[18446744073709551617]`), CodeInvalidResource, "data.ids[0]", false, false},
	{"an unknown field", kvData(`{"target":"kv-user-context","ids":[10],"note":"x"}`), CodeInvalidResource, "data.note", false, false},
	{"the other target's fields as well", kvData(`{"target":"kv-user-context","ids":[10],"knowledge_base_id":1}`), CodeInvalidResource, "data.knowledge_base_id", false, false},
	{"the other target's fields instead", kvData(`{"target":"kv-user-context","replica_uuid":"03db5651-cb61-4bdf-9ef0-89561f7c9c53","knowledge_base_id":1}`), CodeInvalidResource, "data.replica_uuid", false, false},
}

// refusedEntries are invalid bodies for a knowledge-base entry.
var refusedEntries = []struct{ name, old, new, field string }{
	{"no UUID", `"replica_uuid":"03db5651-cb61-4bdf-9ef0-89561f7c9c53",`, ``, "data.replica_uuid"},
	{"a UUID that is null", `"03db5651-cb61-4bdf-9ef0-89561f7c9c53"`, `null`, "data.replica_uuid"},
	{"a UUID that is a number", `"03db5651-cb61-4bdf-9ef0-89561f7c9c53"`, `3`, "data.replica_uuid"},
	{"a UUID without dashes", `03db5651-cb61-4bdf-9ef0-89561f7c9c53`, `03db5651cb614bdf9ef089561f7c9c53`, "data.replica_uuid"},
	{"a UUID in braces", `03db5651-cb61-4bdf-9ef0-89561f7c9c53`, `{03db5651-cb61-4bdf-9ef0-89561f7c9c53}`, "data.replica_uuid"},
	{"a UUID as a URN", `03db5651-cb61-4bdf-9ef0-89561f7c9c53`, `urn:uuid:03db5651-cb61-4bdf-9ef0-89561f7c9c53`, "data.replica_uuid"},
	{"a UUID with a path in it", `03db5651-cb61-4bdf-9ef0-89561f7c9c53`, `03db5651-cb61-4bdf-9ef0-/../../xxxxx`, "data.replica_uuid"},
	{"a UUID with a space after it", `03db5651-cb61-4bdf-9ef0-89561f7c9c53`, `03db5651-cb61-4bdf-9ef0-89561f7c9c53 `, "data.replica_uuid"},
	{"the nil UUID", `03db5651-cb61-4bdf-9ef0-89561f7c9c53`, `00000000-0000-0000-0000-000000000000`, "data.replica_uuid"},
	{"no entry", `,"knowledge_base_id":12345`, ``, "data.knowledge_base_id"},
	{"an entry that is null", `12345`, `null`, "data.knowledge_base_id"},
	{"an entry that is a string", `12345`, `"12345"`, "data.knowledge_base_id"},
	{"entry zero", `12345`, `0`, "data.knowledge_base_id"},
	{"an entry past 2^63-1", `12345`, `9223372036854775808`, "data.knowledge_base_id"},
	{"an unknown field", `12345`, `12345,"force":true`, "data.force"},
	{"the other target's field", `12345`, `12345,"ids":[1]`, "data.ids"},
}

func TestReadRequestRefusesStructured(t *testing.T) {
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			r, err := ReadRequest(KVUserContext, nil, []byte(test.body))
			wantInvalid(t, err, test.code, test.field)
			want := "req-1"
			if test.unnamed {
				want = ""
			}
			if r.ID != want {
				t.Errorf("the request is called %q, want %q", r.ID, want)
			}
			if r.Resource != nil {
				t.Errorf("a refused request names %v", r.Resource)
			}
		})
	}
	for _, test := range refusedEntries {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadRequest(SensayKnowledgeBase, nil, []byte(in(sensayEvent, test.old, test.new)))
			wantInvalid(t, err, CodeInvalidResource, test.field)
		})
	}
}

// wantInvalid checks the error of a reader, and that it is printable.
func wantInvalid(t *testing.T, err error, code Code, field string) {
	t.Helper()
	problem, ok := errors.AsType[*InvalidError](err)
	if !ok {
		t.Fatalf("got %v, want an InvalidError", err)
	}
	if problem.Code != code || problem.Field != field {
		t.Errorf("got %s at %q (%v), want %s at %q", problem.Code, problem.Field, err, code, field)
	}
	wantPrintable(t, err.Error())
}

func wantPrintable(t *testing.T, message string) {
	t.Helper()
	if message == "" || len(message) > 512 || message != printable(message, 512) {
		t.Errorf("%q is empty, too long or not printable", message)
	}
}

func TestReadRequestReturnsTheSourceOfAnInvalidRequest(t *testing.T) {
	for name, test := range map[string]struct{ body, want string }{
		"it is there once":  {kvIDs("[0]"), "/crm"},
		"it is there twice": {in(kvEvent, `"source"`, `"source":"/a","source"`), ""},
		"it is no URI":      {in(kvEvent, `"/crm"`, `"/c rm"`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ReadRequest(KVUserContext, nil, []byte(test.body))
			if err == nil || r.Source != test.want {
				t.Errorf("got %q and %v, want %q and an error", r.Source, err, test.want)
			}
		})
	}
}

func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("\x01\u202eé", 20000)
	for name, err := range map[string]error{
		"made here":      malformed(long, "%s", long),
		"made elsewhere": &InvalidError{Code: CodeIDReused, Field: long, Reason: long},
		"no field":       &InvalidError{Code: CodeIDReused, Reason: long},
	} {
		t.Run(name, func(t *testing.T) { wantPrintable(t, err.Error()) })
	}
	t.Run("what a user wrote is shown", func(t *testing.T) {
		_, err := ReadRequest(KVUserContext, nil, []byte(kvIDs("[10,1e3]")))
		want := "data.ids[1]: must be an integer from 1 to 9223372036854775807, without fraction or exponent, not 1e3"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestAMessageIDIsThatOfOneRequest(t *testing.T) {
	t.Parallel()
	request := Request{ID: "erase-7", Source: "/crm", Resource: UserContexts{IDs: []int64{10, 11}}}
	again, reused := request, request
	again.Time, again.Resource = time.Now(), UserContexts{IDs: []int64{11, 10}}
	reused.Resource = UserContexts{IDs: []int64{99}}
	if request.MessageID() != again.MessageID() {
		t.Error("a repetition has another message id")
	}
	if request.MessageID() == reused.MessageID() {
		t.Error("a request for another resource has the same message id")
	}
}
