package fakeapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// sensayErr checks the documented form of an error and returns its text.
func sensayErr(t *testing.T, body string) string {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	id, _ := got["request_id"].(string)
	if got["success"] != false || !strings.HasPrefix(id, "xyz1::reg1:reg1::ab3c4-") || len(got) != 3 {
		t.Errorf("not the documented error: %s", body)
	}
	text, _ := got["error"].(string)
	return text
}

func TestSensayDeletesOnce(t *testing.T) {
	s, base := serve(t, fakeapi.Config{})
	resp, body, err := deleteEntry(t, base, 12345)
	want(t, "error", err, nil)
	want(t, "status", status(resp), 200)
	want(t, "body", body, `{"success":true}`)

	resp, body, err = deleteEntry(t, base, 12345)
	want(t, "error", err, nil)
	want(t, "status again", status(resp), 404)
	want(t, "error text", sensayErr(t, body), "Knowledge base entry not found")

	deleted := s.Deleted()
	if len(deleted) != 1 || deleted[0].Entry != sensayEntry(12345) || deleted[0].Call != 1 || deleted[0].Pending {
		t.Errorf("deleted: %+v", deleted)
	}
	if call := last(t, s); call.RequestID == "" || !strings.Contains(body, call.RequestID) {
		t.Errorf("the record has request_id %q, the answer was %s", call.RequestID, body)
	}
}

func TestSensayRefusesUndocumentedRequests(t *testing.T) {
	s, base := serve(t, fakeapi.Config{})
	good := []string{"X-ORGANIZATION-SECRET", orgSecret}
	for name, tt := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
	}{
		"no secret":                   {"DELETE", sensayBase + "1", "", nil, 401},
		"a wrong secret":              {"DELETE", sensayBase + "1", "", []string{"X-ORGANIZATION-SECRET", "x"}, 401},
		"the other API's credential":  {"DELETE", sensayBase + "1", "", []string{"access-key", accessKey}, 401},
		"an unknown version":          {"DELETE", sensayBase + "1", "", append([]string{"X-API-Version", "2024-01-01"}, good...), 400},
		"a replica without UUID form": {"DELETE", "/v1/replicas/x/knowledge-base/1", "", good, 400},
		"a UUID in braces":            {"DELETE", "/v1/replicas/{" + replica + "}/knowledge-base/1", "", good, 400},
		"a replica with dots":         {"DELETE", "/v1/replicas/../knowledge-base/1", "", good, 400},
		"an id of letters":            {"DELETE", sensayBase + "x", "", good, 400},
		"an id with a leading zero":   {"DELETE", sensayBase + "01", "", good, 400},
		"an id of 2^63":               {"DELETE", sensayBase + "9223372036854775808", "", good, 400},
		"a body":                      {"DELETE", sensayBase + "1", "{}", good, 400},
		"another method":              {"POST", sensayBase + "1", "", good, 405},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body, err := ask(t, tt.method, base+tt.path, tt.body, tt.headers...)
			want(t, "error", err, nil)
			want(t, "status", status(resp), tt.status)
			if sensayErr(t, body) == "" {
				t.Error("the answer has no error text")
			}
		})
	}
	for _, path := range []string{"/v1", "/v1/replicas/" + replica, sensayBase, sensayBase + "1/"} {
		t.Run("an unknown path "+path, func(t *testing.T) {
			resp, body, err := ask(t, "DELETE", base+path, "", good...)
			want(t, "error", err, nil)
			want(t, "status", status(resp), 404)
			if json.Valid([]byte(body)) {
				t.Errorf("a page of the hosting platform looks like the API's 404: %s", body)
			}
		})
	}
	want(t, "deleted", s.Deleted(), []fakeapi.Deletion{})

	t.Run("a known version and a UUID in upper case are accepted", func(t *testing.T) {
		path := "/v1/replicas/" + strings.ToUpper(replica) + "/knowledge-base/1"
		resp, _, err := ask(t, "DELETE", base+path, "", append([]string{"X-API-Version", "2025-03-25"}, good...)...)
		want(t, "error", err, nil)
		want(t, "status", status(resp), 200)
		want(t, "state", state(t, s, sensayEntry(1)), fakeapi.StateDeleted)
	})
}

// do calls a handler without a network, for tests with a fake clock.
func do(s http.Handler, method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("X-ORGANIZATION-SECRET", orgSecret)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestSensayPendingRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fakeapi.New(fakeapi.Config{PendingShare: 1, PendingFor: time.Hour})
		first := do(s, "DELETE", sensayBase+"5")
		want(t, "status", first.Code, 202)
		want(t, "body", first.Body.String(), `{"success":true,"message":"The deletion process has been initiated. Full removal of all associated data may take up to 24 hours to complete."}`)
		want(t, "begun by the call", last(t, s).Pending, []fakeapi.Entry{sensayEntry(5)})
		want(t, "until", last(t, s).PendingUntil, time.Now().Add(time.Hour).UTC())

		time.Sleep(time.Hour - 1)
		want(t, "status just before the end", do(s, "DELETE", sensayBase+"5").Code, 202)
		want(t, "begun by the second call", last(t, s).Pending, nil)
		want(t, "still served", do(s, "GET", sensayBase+"5").Code, 200)
		want(t, "state", state(t, s, sensayEntry(5)), fakeapi.StatePending)
		want(t, "listed as pending", s.Deleted()[0].Pending, true)

		time.Sleep(time.Nanosecond)
		want(t, "status at the end", do(s, "DELETE", sensayBase+"5").Code, 404)
		want(t, "no longer served", do(s, "GET", sensayBase+"5").Code, 404)
		want(t, "state", state(t, s, sensayEntry(5)), fakeapi.StateDeleted)
		want(t, "deleted by", s.Deleted()[0].Call, uint64(1))
	})
}

func TestSensayEntriesCanBeSet(t *testing.T) {
	s, base := serve(t, fakeapi.Config{Unknown: []fakeapi.Entry{sensayEntry(1)}})
	ends := func(id int64, code int) {
		t.Helper()
		resp, _, err := deleteEntry(t, base, id)
		want(t, "error", err, nil)
		want(t, "status", status(resp), code)
	}
	ends(1, 404)
	for id, tt := range map[int64]struct {
		state fakeapi.State
		code  int
	}{1: {fakeapi.StatePresent, 200}, 2: {fakeapi.StateUnknown, 404}, 3: {fakeapi.StateDeleted, 404}, 4: {fakeapi.StatePending, 202}} {
		if err := s.SetEntry(sensayEntry(id), tt.state); err != nil {
			t.Fatal(err)
		}
		want(t, "state", state(t, s, sensayEntry(id)), tt.state)
		ends(id, tt.code)
	}
	if err := s.SetEntry(sensayEntry(1), "gone"); err == nil {
		t.Error("an unknown state was accepted")
	}
	deleted := s.Deleted()
	if len(deleted) != 1 || deleted[0].Entry != sensayEntry(1) {
		t.Errorf("only what a call deleted is listed; got %+v", deleted)
	}
}

func TestSharesDependOnTheSeed(t *testing.T) {
	codes := func(seed uint64) (list []int) {
		s := fakeapi.New(fakeapi.Config{Seed: seed, UnknownShare: 0.3, PendingShare: 0.3})
		for id := range int64(1000) {
			r := httptest.NewRequest(http.MethodDelete, sensayBase+fakeapi.Context(id + 1).String()[3:], nil)
			r.Header.Set("X-ORGANIZATION-SECRET", orgSecret)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			list = append(list, w.Code)
		}
		return list
	}
	one := codes(1)
	want(t, "the same seed", codes(1), one)
	counts := map[int]int{}
	differ := 0
	for i, code := range codes(2) {
		counts[code]++
		if code != one[i] {
			differ++
		}
	}
	if differ < 300 {
		t.Errorf("another seed changed %d of 1000 answers", differ)
	}
	for code, about := range map[int]int{404: 300, 202: 210, 200: 490} {
		if counts[code] < about-70 || counts[code] > about+70 {
			t.Errorf("%d answers of 1000 are %d, expected about %d", counts[code], code, about)
		}
	}
}
