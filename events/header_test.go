package events

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

const kvBody = `{"target":"kv-user-context","ids":[10,11]}`

// binaryMode is the request of kvEvent in binary mode.
func binaryMode(changes map[string][]string) map[string][]string {
	header := map[string][]string{
		"ce-specversion": {"1.0"},
		"ce-id":          {"req-1"},
		"ce-source":      {"/crm"},
		"ce-type":        {RequestType},
		"content-type":   {"application/json"},
	}
	maps.Copy(header, changes)
	return header
}

type header = map[string][]string

func TestReadRequestAcceptsModes(t *testing.T) {
	upper := header{}
	for name, values := range binaryMode(nil) {
		upper[strings.ToUpper(name)] = values
	}
	tests := []struct {
		name   string
		header header
		body   string
		want   func(r *Request)
	}{
		{"binary mode", binaryMode(nil), kvBody, nil},
		{"header names in upper case", upper, kvBody, nil},
		{"binary mode without a content type", binaryMode(header{"content-type": nil}), kvBody, nil},
		{"a media type built on JSON, with a parameter", binaryMode(header{"content-type": {"Application/Vnd.crm+JSON; charset=utf-8"}}), kvBody, nil},
		{"the media type in ce-datacontenttype", binaryMode(header{"content-type": nil, "ce-datacontenttype": {"application/json"}}), kvBody, nil},
		{"a percent-encoded value", binaryMode(header{"ce-id": {"%72eq%2d1"}, "ce-type": {"lethe.deletion.requested%2Ev1"}, "ce-source": {"/%63r%22m"}}), kvBody, func(r *Request) { r.Source = "/%63r%22m" }},
		{"a source with an escape, from an SDK that does not encode", binaryMode(header{"ce-source": {"/crm/a%20b"}}), kvBody, func(r *Request) { r.Source = "/crm/a%20b" }},
		{"a source that is valid only when decoded", binaryMode(header{"ce-source": {`"/crm%3Fa=b"`}}), kvBody, func(r *Request) { r.Source = "/crm?a=b" }},
		{"extensions that cannot be decoded", binaryMode(header{"ce-note": {"50% off"}, "ce-tenant": {"%C0%A0"}, "ce-zone": {"\xff"}, "ce-empty": {""}}), kvBody, nil},
		{"extensions of any name", binaryMode(header{"ce-": {"a"}, "ce-ten_ant": {"b"}, "ce-My-Ext": {"c"}, "ce-ids": {"[1]"}}), kvBody, nil},
		{"an extension with two values", binaryMode(header{"ce-note": {"a", "b"}, "CE-Note": {"c"}}), kvBody, nil},
		{"a trace that is empty or repeated", binaryMode(header{"ce-tracestate": {""}, "ce-traceparent": {
			"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		}}), kvBody, nil},
		{"a subject and a schema that cannot be decoded", binaryMode(header{"ce-subject": {"50% off"}, "ce-dataschema": {"/a%zz"}}), kvBody, nil},
		{"headers that are repeated with the same value", binaryMode(header{
			"ce-id": {"req-1", " req-1 "}, "Ce-Id": {"req-1"}, "CE-SOURCE": {"/crm"}, "ce-type": {RequestType, RequestType},
			"content-type": {"application/json", "application/json"}, "Content-Type": {"Application/JSON"},
		}), kvBody, nil},
		{"as the CloudEvents SDK for Go writes it", header{
			"ce-specversion": {"1.0"}, "ce-id": {"req-1"}, "ce-source": {"/crm"}, "ce-type": {RequestType}, "ce-datacontenttype": {"application/json"},
			"ce-time": {"2026-11-23T12:00:00.5Z"}, "ce-note": {"50% off"},
		}, kvBody, func(r *Request) { r.Time = time.Date(2026, 11, 23, 12, 0, 0, 500_000_000, time.UTC) }},
		{"a quoted value of an older sender", binaryMode(header{"ce-source": {`"/c\rm"`}}), kvBody, nil},
		{"white space around a value", binaryMode(header{"ce-id": {" req-1\t"}}), kvBody, nil},
		{"an extension that is not ASCII", binaryMode(header{"ce-tenant": {"Euro%20%E2%82%AC"}}), kvBody, nil},
		{"headers that are not the event's", binaryMode(header{"Nats-Msg-Id": {"a", "b"}, "traceparent": {"x"}}), kvBody, nil},
		{"a time and a trace", binaryMode(header{
			"ce-time":        {"2026-11-23t12:00:00z"},
			"ce-traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}), kvBody, func(r *Request) {
			r.Time = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
			r.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		}},
		{"structured mode by its content type", header{"Content-Type": {"application/cloudevents+json"}}, kvEvent, nil},
		{"in another case and with a parameter", header{"content-type": {"Application/CloudEvents+JSON; charset=UTF-8"}}, kvEvent, nil},
		{"as the binding writes it", header{"content-type": {"application/cloudevents"}}, kvEvent, nil},
		{"the content type decides over ce-specversion", header{"content-type": {ContentType}, "ce-specversion": {"1.0"}, "ce-id": {"req-1"}}, kvEvent, nil},
		{"a structured event as JSON", header{"content-type": {"application/json"}}, kvEvent, nil},
		{"as JSON in another case and with a parameter", header{"CONTENT-TYPE": {"Application/JSON; charset=utf-8"}}, kvEvent, nil},
		{"as a type built on JSON", header{"content-type": {"application/vnd.crm+json"}}, kvEvent, nil},
		{"an empty content type is ignored", header{"content-type": {""}}, kvEvent, nil},
		{"an empty content type beside another", header{"content-type": {"", ContentType}}, kvEvent, nil},
		{"a repeated content type", header{"content-type": {ContentType, ContentType}, "Content-Type": {"application/CloudEvents+json"}}, kvEvent, nil},
		{"a copy of the id in a header, twice", header{"content-type": {ContentType}, "ce-id": {"req-1", "req-1"}, "CE-ID": {"req-1"}}, kvEvent, nil},
		{"other headers of a structured event are not read", header{"content-type": {ContentType}, "ce-source": {"/a", "/b"}, "ce-data": {"{}"}}, kvEvent, nil},
		{"no content type and no ce-specversion", header{"Nats-Msg-Id": {"req-1"}}, kvEvent, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := kvRequest
			if test.want != nil {
				test.want(&want)
			}
			got, err := ReadRequest(KVUserContext, test.header, []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadRequestRefusesHeaders(t *testing.T) {
	tests := []struct {
		name   string
		header header
		body   string
		code   Code
		field  string
		id     string
	}{
		{"a batch", header{"content-type": {"application/cloudevents-batch+json"}}, "[" + kvEvent + "]", CodeMalformedEvent, "content-type", ""},
		{"another event format", header{"content-type": {"application/cloudevents+xml"}}, kvEvent, CodeMalformedEvent, "content-type", "req-1"},
		{"an invalid content type", header{"content-type": {"json"}}, kvEvent, CodeMalformedEvent, "content-type", "req-1"},
		{"a content type with half a parameter", header{"content-type": {"application/cloudevents+json; charset"}}, kvEvent, CodeMalformedEvent, "content-type", "req-1"},
		{"two content types", header{"content-type": {ContentType, "application/json"}}, kvEvent, CodeMalformedEvent, "content-type", "req-1"},
		{"two content types in different case", header{"content-type": {ContentType}, "Content-Type": {"application/json"}}, kvEvent, CodeMalformedEvent, "content-type", "req-1"},
		{"two content types of an event with headers", binaryMode(header{"Content-Type": {ContentType}}), kvBody, CodeMalformedEvent, "content-type", "req-1"},
		{"two content types and two ids", binaryMode(header{"Content-Type": {ContentType}, "ce-id": {"req-2"}}), kvEvent, CodeMalformedEvent, "content-type", ""},
		{"two content types and an id in the body alone", header{"content-type": {ContentType, "application/json"}, "ce-source": {"/crm"}}, kvEvent, CodeMalformedEvent, "content-type", ""},
		{"a structured event that is called text", header{"content-type": {"text/plain"}}, kvEvent, CodeMalformedEvent, "content-type", "req-1"},
		{"another id in a header", header{"content-type": {ContentType}, "ce-id": {"req-2"}}, kvEvent, CodeMalformedEvent, "ce-id", ""},
		{"two ids in headers of a structured event", header{"content-type": {ContentType}, "ce-id": {"req-1", "req-2"}}, kvEvent, CodeMalformedEvent, "ce-id", ""},
		{"an event in the body beside a ce- header", header{"CE-Note": {"a"}}, kvEvent, CodeMalformedEvent, "ce-specversion", ""},
		{"an event as JSON beside a ce- header", header{"content-type": {"application/json"}, "ce-id": {"req-1"}}, kvEvent, CodeMalformedEvent, "ce-specversion", "req-1"},

		{"data that is text", binaryMode(header{"content-type": {"text/plain"}}), kvBody, CodeMalformedEvent, "content-type", "req-1"},
		{"two media types of data, one wrong", binaryMode(header{"ce-datacontenttype": {"text/plain"}}), kvBody, CodeMalformedEvent, "ce-datacontenttype", "req-1"},
		{"no ce-id", binaryMode(header{"ce-id": nil}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"two ce-ids", binaryMode(header{"ce-id": {"req-1", "req-2"}}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"two ce-ids in different case", binaryMode(header{"Ce-Id": {"req-2"}}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"two ce-ids that differ in case", binaryMode(header{"ce-id": {"req-1", "REQ-1"}}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"two ce-ids, one empty", binaryMode(header{"ce-id": {"", "req-1"}}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"another id in the body of binary mode", binaryMode(nil), `{"id":"req-2","target":"kv-user-context","ids":[1]}`, CodeInvalidResource, "data.id", "req-1"},
		{"the same id in a header of a structured event", header{"content-type": {ContentType}, "ce-id": {"req-1"}}, in(kvEvent, `[10,11]`, `[]`), CodeInvalidResource, "data.ids", "req-1"},
		{"two content types and one id", binaryMode(header{"Content-Type": {ContentType}}), kvEvent, CodeMalformedEvent, "content-type", "req-1"},
		{"an array that looks like members", header{"content-type": {ContentType}}, `["id","req-1"]`, CodeMalformedEvent, "body", ""},
		{"a wrong ce-id", binaryMode(header{"ce-id": {"req.1"}}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"a wrong ce-id behind percent-encoding", binaryMode(header{"ce-id": {"req%2E1"}}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"a reserved ce-id", binaryMode(header{"ce-id": {"seq-1"}}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"an empty ce-id", binaryMode(header{"ce-id": {""}}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"no ce-source", binaryMode(header{"ce-source": nil}), kvBody, CodeMalformedEvent, "ce-source", "req-1"},
		{"two ce-sources", binaryMode(header{"ce-source": {"/a", "/b"}}), kvBody, CodeMalformedEvent, "ce-source", "req-1"},
		{"no ce-type", binaryMode(header{"ce-type": nil}), kvBody, CodeMalformedEvent, "ce-type", "req-1"},
		{"another specversion", binaryMode(header{"ce-specversion": {"0.3"}}), kvBody, CodeMalformedEvent, "ce-specversion", "req-1"},
		{"a wrong ce-time", binaryMode(header{"ce-time": {"yesterday"}}), kvBody, CodeMalformedEvent, "ce-time", "req-1"},
		{"half an escape", binaryMode(header{"ce-source": {"/crm%2"}}), kvBody, CodeMalformedEvent, "ce-source", "req-1"},
		{"an escape that is not UTF-8", binaryMode(header{"ce-id": {"%C0%A0"}}), kvBody, CodeMalformedEvent, "ce-id", ""},
		{"two values of an attribute that is not used", binaryMode(header{"ce-subject": {"a", "b"}}), kvBody, CodeMalformedEvent, "ce-subject", "req-1"},
		{"an empty subject", binaryMode(header{"ce-subject": {`""`}}), kvBody, CodeMalformedEvent, "ce-subject", "req-1"},
		{"base64 in a header", binaryMode(header{"ce-data_base64": {"e30="}}), kvBody, CodeMalformedEvent, "ce-data_base64", "req-1"},
		{"an attribute called data", binaryMode(header{"ce-data": {"{}"}}), kvBody, CodeMalformedEvent, "ce-data", "req-1"},
		{"no body", binaryMode(nil), "", CodeMalformedEvent, "data", "req-1"},
		{"a body that is not JSON", binaryMode(nil), "hello", CodeMalformedEvent, "data", "req-1"},
		{"a body that is an array", binaryMode(nil), "[]", CodeMalformedEvent, "data", "req-1"},
		{"a body with bytes after its end", binaryMode(nil), kvBody + "x", CodeMalformedEvent, "data", "req-1"},
		{"a repeated key in the body", binaryMode(nil), `{"target":"kv-user-context","ids":[1],"ids":[2]}`, CodeMalformedEvent, "data.ids", "req-1"},
		{"a body of 33 levels", binaryMode(nil), `{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, CodeMalformedEvent, "data", "req-1"},
		{"over 64 KiB with its headers", binaryMode(header{"ce-tenant": {strings.Repeat("x", 1000)}}), kvBody + strings.Repeat(" ", MaxEventBytes-1000), CodeMalformedEvent, "body", "req-1"},
		{"an unknown target", binaryMode(nil), `{"target":"x"}`, CodeUnknownTarget, "data.target", "req-1"},
		{"another subject's target", binaryMode(nil), `{"target":"sensay-knowledge-base"}`, CodeTargetMismatch, "data.target", "req-1"},
		{"a wrong resource", binaryMode(nil), `{"target":"kv-user-context","ids":[]}`, CodeInvalidResource, "data.ids", "req-1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := ReadRequest(KVUserContext, test.header, []byte(test.body))
			wantInvalid(t, err, test.code, test.field)
			if r.ID != test.id {
				t.Errorf("the request is called %q, want %q", r.ID, test.id)
			}
		})
	}
}

func TestTraceContext(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, test := range []struct{ name, parent, state, wantParent, wantState string }{
		{"both", parent, "a=1,b=2", parent, "a=1,b=2"},
		{"no state", parent, "", parent, ""},
		{"a state that is too long", parent, strings.Repeat("a", 513), parent, ""},
		{"a state with a line break", parent, "a=1\nb", parent, ""},
		{"a state alone", "", "a=1", "", ""},
		{"a short parent", parent[1:], "", "", ""},
		{"upper case", strings.ToUpper(parent), "", "", ""},
		{"no hexadecimal digit", strings.Replace(parent, "0a", "0g", 1), "", "", ""},
		{"a dash in a wrong place", strings.Replace(parent, "0af7", "0a-7", 1), "", "", ""},
		{"a digit for a dash", strings.Replace(parent, "-", "0", 1), "", "", ""},
		{"the forbidden version", "ff" + parent[2:], "", "", ""},
		{"no trace id", parent[:3] + strings.Repeat("0", 32) + parent[35:], "", "", ""},
		{"no span id", parent[:36] + strings.Repeat("0", 16) + parent[52:], "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if gotParent, gotState := traceContext(test.parent, test.state); gotParent != test.wantParent || gotState != test.wantState {
				t.Errorf("got %q and %q", gotParent, gotState)
			}
		})
	}
}

func TestReadRequestIsDeterministic(t *testing.T) {
	// Several headers are invalid, and maps have no order.
	wrong := binaryMode(header{"ce-type": {"%"}, "ce-subject": {""}, "ce-time": {"1", "2"}, "Ce-Time": {"3"}, "ce-source": {"%C0"}})
	_, first := ReadRequest(KVUserContext, wrong, []byte(kvBody))
	for range 50 {
		if _, err := ReadRequest(KVUserContext, wrong, []byte(kvBody)); fmt.Sprint(err) != fmt.Sprint(first) {
			t.Fatalf("got %v, and before that %v", err, first)
		}
	}
}

func TestRawFingerprint(t *testing.T) {
	base := RawFingerprint(binaryMode(nil), []byte("x"))
	t.Run("other headers and the case of names do not matter", func(t *testing.T) {
		same := binaryMode(header{"Nats-Msg-Id": {"1"}, "ce-id": nil, "CE-ID": {"req-1"}})
		delete(same, "ce-id")
		if got := RawFingerprint(same, []byte("x")); got != base {
			t.Errorf("got %s, want %s", got, base)
		}
	})
	t.Run("it differs from a resource's", func(t *testing.T) {
		if !strings.HasPrefix(base, "raw:") || len(base) != 4+64 {
			t.Errorf("got %s", base)
		}
	})
	for name, other := range map[string]string{
		"another body":                 RawFingerprint(binaryMode(nil), []byte("y")),
		"another value":                RawFingerprint(binaryMode(header{"ce-id": {"req-2"}}), []byte("x")),
		"a header more":                RawFingerprint(binaryMode(header{"ce-tenant": {"a"}}), []byte("x")),
		"two values":                   RawFingerprint(binaryMode(header{"ce-id": {"req-1", "req-1"}}), []byte("x")),
		"another content type":         RawFingerprint(binaryMode(header{"content-type": {"application/xml"}}), []byte("x")),
		"what was a value in the body": RawFingerprint(binaryMode(header{"content-type": {"application/jsonx"}}), nil),
	} {
		t.Run(name+" gives another", func(t *testing.T) {
			if other == base {
				t.Error("they are equal")
			}
		})
	}
}

// Records of earlier releases hold fingerprints, and a later one compares with them.
func TestAFingerprintDoesNotChangeBetweenReleases(t *testing.T) {
	for want, resource := range map[string]Resource{
		"9cd95c38bf7ea1c47ab3bd29416d31d86d013bcde71f1d373dbf14da0cf4870e": UserContexts{IDs: []int64{10, 9223372036854775807, 7}},
		"1b2778aec6ee5aa0d159f8a94ace49977ee4b709559446b73650094fe6b3afca": KnowledgeBaseEntry{
			ReplicaUUID: uuid.MustParse("03DB5651-cb61-4bdf-9ef0-89561f7c9c53"), KnowledgeBaseID: 12345,
		},
	} {
		if got := Fingerprint(resource); got != want {
			t.Errorf("%v: %s, want %s", resource, got, want)
		}
	}
}

// An invalid message is the same request only if all of it is the same.
func TestRawFingerprintsOfAmbiguousHeadersDiffer(t *testing.T) {
	seen := map[string]header{}
	for _, h := range []header{
		{}, {"ce-a": {"x"}}, {"ce-b": {"x"}}, {"ce-a": {"ce-b", "x"}}, {"ce-a": {"x", "ce-b", "y"}}, {"ce-a": {"x"}, "ce-b": {"y"}}, {"ce-a": {}, "ce-b": {"x"}},
		{"content-type": {"x"}}, {"content-type": {"y"}},
	} {
		fingerprint := RawFingerprint(h, []byte("body"))
		if same, found := seen[fingerprint]; found {
			t.Errorf("%v and %v have one fingerprint", same, h)
		}
		seen[fingerprint] = h
	}
}

// The source of an invalid event in binary mode is reported with its result.
func TestAnInvalidEventWithHeadersKeepsItsSource(t *testing.T) {
	r, err := ReadRequest(KVUserContext, binaryMode(header{"ce-source": {"/crm/a"}}), []byte(`{"target":"kv-user-context","ids":[]}`))
	if err == nil || r.ID != "req-1" || r.Source != "/crm/a" {
		t.Errorf("%+v, %v", r, err)
	}
}
