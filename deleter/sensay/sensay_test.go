package sensay

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var someEntry = events.KnowledgeBaseEntry{
	ReplicaUUID:     uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"),
	KnowledgeBaseID: 9223372036854775807,
}

// served returns a Deleter whose API is handler.
func served(t testing.TB, handler http.HandlerFunc) *Deleter {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := deleter.NewCredential("org-secret-1")
	if err != nil {
		t.Fatal(err)
	}
	d := New(deleter.ClientConfig{BaseURL: base, Credential: credential, Timeout: 5 * time.Second, Concurrency: 4}, "2025-03-25")
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
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	if a := d.Delete(t.Context(), someEntry); a.Verdict != deleter.Deleted {
		t.Fatalf("%+v", a)
	}
	for what, ok := range map[string]bool{
		"method":              got.Method == http.MethodDelete,
		"path":                got.URL.Path == "/v1/replicas/03db5651-cb61-4bdf-9ef0-89561f7c9c53/knowledge-base/9223372036854775807",
		"organization secret": got.Header.Get("X-ORGANIZATION-SECRET") == "org-secret-1",
		"version":             got.Header.Get("X-API-Version") == "2025-03-25",
		"no body":             len(body) == 0,
		"no trace context":    got.Header.Get("traceparent") == "",
		"no idempotency key":  got.Header.Get("Idempotency-Key") == "",
	} {
		if !ok {
			t.Errorf("wrong: %s (%s %s %v)", what, got.Method, got.URL, got.Header)
		}
	}
}

// The contract's section 5, column Sensay.
func TestAnswers(t *testing.T) {
	const (
		json404 = `{"success":false,"error":"Not found","request_id":"xyz1::r"}`
		page    = "<html>gateway</html>"
	)
	for _, c := range []struct {
		name        string
		status      int
		contentType string
		body        string
		want        deleter.Answer
	}{
		{"200 with success is deleted", 200, "application/json", `{"success":true}`, deleter.Answer{Verdict: deleter.Deleted}},
		{"200 with a charset is deleted", 200, "application/json; charset=utf-8", `{"success":true,"new":1}`, deleter.Answer{Verdict: deleter.Deleted}},
		{"202 with success is accepted", 202, "application/json", `{"success":true,"message":"begun"}`, deleter.Answer{Verdict: deleter.AcceptedPending, Message: "begun"}},
		{"404 with error and request_id is not found", 404, "application/json", json404, deleter.Answer{Verdict: deleter.NotFound, Message: "Not found", APIRequestID: "xyz1::r"}},
		{"404 whose success is true is not found all the same", 404, "application/json", `{"success":true,"error":"gone","request_id":"r"}`, deleter.Answer{Verdict: deleter.NotFound, Message: "gone", APIRequestID: "r"}},
		{"400 is invalid", 400, "application/json", `{"success":false,"error":"bad","request_id":"r"}`, deleter.Answer{Verdict: deleter.Invalid, Message: "bad", APIRequestID: "r"}},
		{"422 is invalid", 422, "application/json", `{"success":false,"error":"bad"}`, deleter.Answer{Verdict: deleter.Invalid, Message: "bad"}},
		{"400 without a message has its status as message", 400, "application/json", `{}`, deleter.Answer{Verdict: deleter.Invalid, Message: "400 Bad Request"}},
		{"401 refuses the credential", 401, "application/json", `{"success":false,"error":"who"}`, deleter.Answer{Verdict: deleter.CredentialRefused}},
		{"403 refuses the credential, with any body", 403, "text/html", page, deleter.Answer{Verdict: deleter.CredentialRefused}},
		{"a page with 200 is tried again and may have deleted", 200, "text/html", page, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"JSON with the media type of a page is no answer", 200, "text/html", `{"success":true}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"200 without success is no answer", 200, "application/json", `{}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"200 with success false is no answer", 200, "application/json", `{"success":false}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"200 with success as a text is no answer", 200, "application/json", `{"success":"true"}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"200 with success twice is no answer", 200, "application/json", `{"success":true,"success":true}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"200 with Success is no answer", 200, "application/json", `{"Success":true}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"half a body is no answer", 200, "application/json", `{"success":tr`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"more than one value is no answer", 200, "application/json", `{"success":true}{}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"an empty body is no answer", 200, "application/json", ``, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"202 with success false is no answer", 202, "application/json", `{"success":false}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"a gateway's 404 page is not the API's", 404, "text/html", page, deleter.Answer{Verdict: deleter.Retry}},
		{"404 without error is not the API's", 404, "application/json", `{"success":false,"request_id":"r"}`, deleter.Answer{Verdict: deleter.Retry}},
		{"404 without request_id is not the API's", 404, "application/json", `{"error":"e"}`, deleter.Answer{Verdict: deleter.Retry}},
		{"404 whose success is a text is not found all the same", 404, "application/json", `{"success":"no","error":"gone","request_id":"r"}`, deleter.Answer{Verdict: deleter.NotFound, Message: "gone", APIRequestID: "r"}},
		{"404 whose error is not a string is not the API's", 404, "application/json", `{"error":{"code":1},"request_id":"r"}`, deleter.Answer{Verdict: deleter.Retry}},
		{"404 whose error is null is not the API's", 404, "application/json", `{"error":null,"request_id":"r"}`, deleter.Answer{Verdict: deleter.Retry}},
		{"404 whose request_id is null is not the API's", 404, "application/json", `{"error":"gone","request_id":null}`, deleter.Answer{Verdict: deleter.Retry}},
		{"404 of a sibling's shape is not the API's", 404, "application/json", `{"success":true}`, deleter.Answer{Verdict: deleter.Retry}},
		{"400 that is null is tried again", 400, "application/json", `null`, deleter.Answer{Verdict: deleter.Retry}},
		{"422 that is a list is tried again", 422, "application/json", `[]`, deleter.Answer{Verdict: deleter.Retry}},
		{"200 in broken UTF-8 is no answer", 200, "application/json", "{\"success\":true,\"message\":\"\xff\"}", deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"200 with success null is no answer", 200, "application/json", `{"success":null}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"400 that is a page is tried again", 400, "text/html", page, deleter.Answer{Verdict: deleter.Retry}},
		{"429 did not delete", 429, "application/json", `{}`, deleter.Answer{Verdict: deleter.Retry}},
		{"408 did not delete", 408, "", "", deleter.Answer{Verdict: deleter.Retry}},
		{"425 did not delete", 425, "", "", deleter.Answer{Verdict: deleter.Retry}},
		{"500 may have deleted", 500, "application/json", json404, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"503 may have deleted", 503, "text/html", page, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"a redirect is tried again", 307, "", "", deleter.Answer{Verdict: deleter.Retry}},
		{"204 is tried again, and may have deleted", 204, "", "", deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"201 is tried again, and may have deleted", 201, "application/json", `{"success":true}`, deleter.Answer{Verdict: deleter.Retry, MayHaveDeleted: true}},
		{"405 is tried again, as an unknown status", 405, "application/json", `{"error":"no"}`, deleter.Answer{Verdict: deleter.Retry, UnknownStatus: true}},
		{"418 is tried again, as an unknown status", 418, "text/html", page, deleter.Answer{Verdict: deleter.Retry, UnknownStatus: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := served(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			got := d.Delete(t.Context(), someEntry)
			c.want.Status = c.status
			ignored := []string{"CallID", "ObservedAt", "Credential", "Duration", "ExpectedBy"}
			if c.want.Message == "" && c.want.Verdict != deleter.Deleted {
				if got.Message == "" {
					t.Error("the answer has no message")
				}
				ignored = append(ignored, "Message")
			}
			if c.want.APIRequestID == "" {
				ignored = append(ignored, "APIRequestID")
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(deleter.Answer{}, ignored...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if pending := got.Verdict == deleter.AcceptedPending; pending != (got.ExpectedBy.Sub(got.ObservedAt).Round(time.Hour) == removalWithin) {
				t.Errorf("expected by %v, observed at %v", got.ExpectedBy, got.ObservedAt)
			}
			if _, err := uuid.Parse(got.CallID); err != nil || got.ObservedAt.IsZero() {
				t.Errorf("call %q at %v", got.CallID, got.ObservedAt)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add(200, []byte(`{"success":true}`))
	f.Add(202, []byte(`{"success":true,"message":"m"}`))
	f.Add(404, []byte(`{"success":false,"error":"e","request_id":"r"}`))
	f.Add(404, []byte(`<html>`))
	f.Add(400, []byte(`null`))
	f.Add(200, []byte(`{"success":true,"success":false}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := read(deleter.Response{Status: status, Body: body, JSON: true})
		var members map[string]any
		_ = json.Unmarshal(body, &members) // as the standard library reads it
		isText := func(name string) bool { _, ok := members[name].(string); return ok }
		switch a.Verdict {
		case deleter.Deleted:
			if status != 200 || members["success"] != true {
				t.Errorf("deleted from %d %q", status, body)
			}
		case deleter.AcceptedPending:
			if status != 202 || members["success"] != true || a.ExpectedBy.IsZero() {
				t.Errorf("accepted from %d %q", status, body)
			}
		case deleter.NotFound:
			if status != 404 || !isText("error") || !isText("request_id") {
				t.Errorf("not found from %d %q", status, body)
			}
		case deleter.Invalid:
			if status != 400 && status != 422 || members == nil {
				t.Errorf("invalid from %d %q", status, body)
			}
		case deleter.CredentialRefused:
			t.Errorf("a refused credential from %d %q", status, body)
		}
	})
}

func BenchmarkDelete(b *testing.B) {
	d := served(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	b.ReportAllocs()
	for b.Loop() {
		if a := d.Delete(context.Background(), someEntry); a.Verdict != deleter.Deleted {
			b.Fatalf("%+v", a)
		}
	}
}
