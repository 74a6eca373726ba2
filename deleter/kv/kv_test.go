package kv

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served returns a Deleter whose API is handler.
func served(t testing.TB, handler http.HandlerFunc) *Deleter {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := deleter.NewCredential("key-1")
	if err != nil {
		t.Fatal(err)
	}
	d := New(deleter.ClientConfig{BaseURL: base, Credential: credential, Timeout: 5 * time.Second, Concurrency: 4})
	t.Cleanup(d.CloseIdle)
	return d
}

func TestTheCallIsTheDocumentedOne(t *testing.T) {
	var got *http.Request
	var body []byte
	d := served(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{},"message":"Data deleted successfully"}`)
	})
	a := d.Delete(t.Context(), events.UserContexts{IDs: []int64{10, 9223372036854775807}})
	if a.Verdict != deleter.Deleted || a.Message != "Data deleted successfully" {
		t.Fatalf("%+v", a)
	}
	for what, ok := range map[string]bool{
		"method":           got.Method == http.MethodDelete,
		"path":             got.URL.Path == "/api/user_context/delete",
		"access key":       got.Header.Get("access-key") == "key-1",
		"content type":     got.Header.Get("Content-Type") == "application/json",
		"body":             string(body) == `{"ids":[10,9223372036854775807]}`,
		"no trace context": got.Header.Get("traceparent") == "",
	} {
		if !ok {
			t.Errorf("wrong: %s (%s %s %v %s)", what, got.Method, got.URL, got.Header, body)
		}
	}
}

// The contract's section 5, column k-v.ai.
func TestAnswers(t *testing.T) {
	const (
		done = `{"data":{},"message":"Data deleted successfully"}`
		page = "<html>gateway</html>"
	)
	for _, c := range []struct {
		name        string
		status      int
		contentType string
		body        string
		want        deleter.Verdict
		refused     []int64
		mayHave     bool
	}{
		{"200 with a message is deleted", 200, "application/json", done, deleter.Deleted, nil, false},
		{"200 wrapped in value is deleted", 200, "application/json", `{"value":` + done + `}`, deleter.Deleted, nil, false},
		{"200 with an empty list of invalid ids is deleted", 200, "application/json", `{"data":{"invalid_docs":[]},"message":"m"}`, deleter.Deleted, nil, false},
		{"200 with a list of invalid ids refuses those", 200, "application/json", `{"data":{"invalid_contexts":[11]},"message":"m"}`, deleter.Invalid, []int64{11}, false},
		{"206 with a list of invalid ids refuses those", 206, "application/json", `{"data":{"invalid_contexts":[11,"12"]},"message":"m"}`, deleter.Invalid, []int64{11, 12}, false},
		{"206 wrapped in value refuses those", 206, "application/json", `{"value":{"data":{"invalid_x":["10"]},"message":"m"}}`, deleter.Invalid, []int64{10}, false},
		{"206 without a list is no answer", 206, "application/json", done, deleter.Retry, nil, true},
		{"206 with ids of others is no answer", 206, "application/json", `{"data":{"invalid_contexts":[99]},"message":"m"}`, deleter.Retry, nil, true},
		{"206 with a list of something else is no answer", 206, "application/json", `{"data":{"invalid_contexts":[{"id":11}]},"message":"m"}`, deleter.Retry, nil, true},
		{"206 with a number instead of a list is no answer", 206, "application/json", `{"data":{"invalid_contexts":11},"message":"m"}`, deleter.Retry, nil, true},
		{"206 with an object instead of a list is no answer", 206, "application/json", `{"data":{"invalid_contexts":{"11":"x"}},"message":"m"}`, deleter.Retry, nil, true},
		{"206 with readable and unreadable items is no answer", 206, "application/json", `{"data":{"invalid_contexts":[11,{"id":12}]},"message":"m"}`, deleter.Retry, nil, true},
		{"206 with unreadable and readable items is no answer", 206, "application/json", `{"data":{"invalid_contexts":[{"id":12},11]},"message":"m"}`, deleter.Retry, nil, true},
		{"200 with readable and unreadable items is no answer", 200, "application/json", `{"data":{"invalid_contexts":[11,null]},"message":"m"}`, deleter.Retry, nil, true},
		{"200 with an unreadable list beside a good one is no answer", 200, "application/json", `{"data":{"invalid_a":[11],"invalid_b":["x"]},"message":"m"}`, deleter.Retry, nil, true},
		{"200 with a text instead of a list is no answer", 200, "application/json", `{"data":{"invalid_contexts":"11"},"message":"m"}`, deleter.Retry, nil, true},
		{"200 with a count of no invalid ids is deleted", 200, "application/json", `{"data":{"invalid_count":0},"message":"m"}`, deleter.Deleted, nil, false},
		{"200 with a count beside a list refuses those", 200, "application/json", `{"data":{"invalid_count":1,"invalid_contexts":[11]},"message":"m"}`, deleter.Invalid, []int64{11}, false},
		{"206 with a count beside a list refuses those", 206, "application/json", `{"data":{"invalid_contexts":[12],"invalid_count":1},"message":"m"}`, deleter.Invalid, []int64{12}, false},
		{"200 with a truth beside a list refuses those", 200, "application/json", `{"data":{"invalid_ids_found":true,"invalid_contexts":[11]},"message":"m"}`, deleter.Invalid, []int64{11}, false},
		{"200 with a truth but no list is no answer", 200, "application/json", `{"data":{"invalid_ids_found":true},"message":"m"}`, deleter.Retry, nil, true},
		{"200 with a count of invalid ids but no list is no answer", 200, "application/json", `{"data":{"invalid_count":1},"message":"m"}`, deleter.Retry, nil, true},
		{"200 with null for a list is deleted", 200, "application/json", `{"data":{"invalid_contexts":null},"message":"m"}`, deleter.Deleted, nil, false},
		{"200 with a truth for a list is deleted", 200, "application/json", `{"data":{"invalid_ids_found":false},"message":"m"}`, deleter.Deleted, nil, false},
		{"200 without a message is no answer", 200, "application/json", `{"data":{}}`, deleter.Retry, nil, true},
		{"200 whose message is not a string is no answer", 200, "application/json", `{"message":1}`, deleter.Retry, nil, true},
		{"200 whose message is null is no answer", 200, "application/json", `{"data":{},"message":null}`, deleter.Retry, nil, true},
		{"a page with 200 is no answer", 200, "text/html", page, deleter.Retry, nil, true},
		{"an empty body is no answer", 200, "application/json", "", deleter.Retry, nil, true},
		{"a list is no answer", 200, "application/json", `[]`, deleter.Retry, nil, true},
		{"422 of pydantic 1 with a position refuses that id", 422, "application/json", `{"detail":[{"loc":["body","ids",1],"msg":"value is not a valid integer","type":"type_error.integer"}]}`, deleter.Invalid, []int64{11}, false},
		{"422 of pydantic 2 with positions refuses those ids", 422, "application/json", `{"detail":[{"type":"int_type","loc":["body","ids",0],"msg":"m","input":"x"},{"type":"int_type","loc":["body","ids",2],"msg":"m","input":null}]}`, deleter.Invalid, []int64{10, 12}, false},
		{"422 about the list refuses all", 422, "application/json", `{"detail":[{"loc":["body","ids"],"msg":"field required","type":"value_error.missing"}]}`, deleter.Invalid, nil, false},
		{"422 with an offset names no id", 422, "application/json", `{"detail":[{"loc":["body",1],"msg":"m","type":"value_error.jsondecode"}]}`, deleter.Invalid, nil, false},
		{"422 with a position out of range names no id", 422, "application/json", `{"detail":[{"loc":["body","ids",7],"msg":"m","type":"t"}]}`, deleter.Invalid, nil, false},
		{"422 with the first position out of range names no id", 422, "application/json", `{"detail":[{"loc":["body","ids",3],"msg":"m","type":"t"}]}`, deleter.Invalid, nil, false},
		{"422 with a position that is not a number names no id", 422, "application/json", `{"detail":[{"loc":["body","ids","x"],"msg":"m","type":"t"}]}`, deleter.Invalid, nil, false},
		{"422 with a position in another list names no id", 422, "application/json", `{"detail":[{"loc":["body","others",1],"msg":"m","type":"t"}]}`, deleter.Invalid, nil, false},
		{"422 with a position outside the body names no id", 422, "application/json", `{"detail":[{"loc":["query","ids",1],"msg":"m","type":"t"}]}`, deleter.Invalid, nil, false},
		{"422 with a text is invalid", 422, "application/json", `{"detail":"no"}`, deleter.Invalid, nil, false},
		{"400 with a message is invalid", 400, "application/json", `{"message":"no"}`, deleter.Invalid, nil, false},
		{"422 with neither is tried again", 422, "application/json", `{}`, deleter.Retry, nil, false},
		{"422 that is a page is tried again", 422, "text/html", page, deleter.Retry, nil, false},
		{"401 refuses the credential", 401, "application/json", `{"data":{},"message":"Invalid or missing access key"}`, deleter.CredentialRefused, nil, false},
		{"403 refuses the credential", 403, "application/json", `{"detail":"no"}`, deleter.CredentialRefused, nil, false},
		{"404 is a wrong base URL, and is tried again", 404, "application/json", `{"detail":"Not Found"}`, deleter.Retry, nil, false},
		{"429 did not delete", 429, "application/json", `{"message":"slow"}`, deleter.Retry, nil, false},
		{"500 may have deleted", 500, "application/json", `{"message":"oops"}`, deleter.Retry, nil, true},
		{"a redirect is tried again", 302, "", "", deleter.Retry, nil, false},
		{"405 is tried again, as an unknown status", 405, "application/json", `{"detail":"Method Not Allowed"}`, deleter.Retry, nil, false},
		{"202 is tried again, and may have deleted", 202, "application/json", done, deleter.Retry, nil, true},
		{"204 is tried again, and may have deleted", 204, "", "", deleter.Retry, nil, true},
		{"200 with a truncated body is no answer", 200, "application/json", `{"data":{},"message":"Data del`, deleter.Retry, nil, true},
		{"200 with a repeated key is no answer", 200, "application/json", `{"message":"m","message":"m"}`, deleter.Retry, nil, true},
		{"200 with a key of another case is no answer", 200, "application/json", `{"Message":"m"}`, deleter.Retry, nil, true},
		{"200 with null is no answer", 200, "application/json", `null`, deleter.Retry, nil, true},
		{"200 with new members is deleted", 200, "application/json", `{"data":{"deleted":3},"message":"m","value":{"x":1},"took":5}`, deleter.Deleted, nil, false},
		{"200 with an answer beside value reads that answer", 200, "application/json", `{"data":{"invalid_x":[10]},"message":"m","value":{"message":"m"}}`, deleter.Invalid, []int64{10}, false},
		{"200 with two lists refuses what both name", 200, "application/json", `{"data":{"invalid_a":[12,10],"invalid_b":[10]},"message":"m"}`, deleter.Invalid, []int64{10, 12}, false},
		{"400 with the sibling's list refuses those", 400, "application/json", `{"data":{"invalid_docs":[10,11,12]},"message":"all are invalid"}`, deleter.Invalid, []int64{10, 11, 12}, false},
		{"400 with data of another shape is invalid", 400, "application/json", `{"data":[],"message":"no"}`, deleter.Invalid, nil, false},
		{"422 wrapped in value refuses those", 422, "application/json", `{"value":{"detail":[{"loc":["body","ids",2],"msg":"m","type":"t"}]}}`, deleter.Invalid, []int64{12}, false},
		{"422 with null as detail is tried again", 422, "application/json", `{"detail":null}`, deleter.Retry, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := served(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			got := d.Delete(t.Context(), events.UserContexts{IDs: []int64{10, 11, 12}})
			want := deleter.Answer{Verdict: c.want, Status: c.status, Refused: c.refused, MayHaveDeleted: c.mayHave, UnknownStatus: c.status == 405}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(deleter.Answer{}, "CallID", "ObservedAt", "Message", "Credential", "Duration")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.Message == "" {
				t.Error("the answer has no message")
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add(200, []byte(`{"data":{},"message":"Data deleted successfully"}`))
	f.Add(206, []byte(`{"data":{"invalid_contexts":[11,"12"]},"message":"m"}`))
	f.Add(422, []byte(`{"detail":[{"loc":["body","ids",1],"msg":"m","type":"t"}]}`))
	f.Add(422, []byte(`{"detail":[{"loc":["body","ids",-1]},{"loc":["body","ids",1e3]}]}`))
	ids := []int64{10, 11, 12}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := read(deleter.Response{Status: status, Body: body, JSON: true}, ids)
		switch a.Verdict {
		case deleter.Deleted:
			var members map[string]any
			_ = json.Unmarshal(body, &members) // as the standard library reads it
			if value, ok := members["value"].(map[string]any); ok && members["message"] == nil {
				members = value
			}
			if _, ok := members["message"].(string); status != 200 || !ok {
				t.Errorf("deleted from %d %q", status, body)
			}
		case deleter.NotFound, deleter.AcceptedPending, deleter.CredentialRefused:
			t.Errorf("%s from %d %q", a.Verdict, status, body)
		}
		for i, id := range a.Refused {
			if !slices.Contains(ids, id) || slices.Contains(a.Refused[:i], id) {
				t.Errorf("refused %v", a.Refused)
			}
		}
	})
}

func BenchmarkDelete(b *testing.B) {
	d := served(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{},"message":"Data deleted successfully"}`)
	})
	ids := make([]int64, 100)
	for i := range ids {
		ids[i] = int64(i + 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		if a := d.Delete(context.Background(), events.UserContexts{IDs: ids}); a.Verdict != deleter.Deleted {
			b.Fatalf("%+v", a)
		}
	}
}
