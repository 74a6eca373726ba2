package fakeapi_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

func TestAdminAPI(t *testing.T) {
	s, base := serve(t, fakeapi.Config{})
	admin := func(t *testing.T, method, path, body string, code int) string {
		t.Helper()
		resp, got, err := ask(t, method, base+"/_sandbox/"+path, body)
		want(t, "error", err, nil)
		if status(resp) != code {
			t.Fatalf("%s %s: status %d, want %d: %s", method, path, status(resp), code, got)
		}
		return got
	}
	entry := "sensay/" + replica + "/1"

	t.Run("the help page lists every path and fault", func(t *testing.T) {
		help := admin(t, "GET", "", "", 200)
		for _, word := range []string{"/calls", "/deleted", "/stats", "/entries/", "/faults", "/scripts/", "none", "cut", "cut-body",
			"truncated", "empty", "lie", "hang", "endless", "slow", "pending", "refused", "partial", "html-NNN", "json-NNN", "+after"} {
			if !strings.Contains(help, word) {
				t.Errorf("the help does not mention %s", word)
			}
		}
	})
	t.Run("faults are set, shown and removed", func(t *testing.T) {
		got := admin(t, "PUT", "faults", `{"sensay":{"latency":"1ms","jitter":"1us","rate":1000,"burst":5,"retry_after":"2","reject":403,"chances":{"cut+after":0.05},"slow_for":"3s"}}`, 200)
		want(t, "answer", got, `{"kv":{},"sensay":{"latency":"1ms","jitter":"1µs","rate":1000,"burst":5,"retry_after":"2","reject":403,"chances":{"cut+after":0.05},"slow_for":"3s"}}`+"\n")
		want(t, "shown", admin(t, "GET", "faults", "", 200), got)
		want(t, "in Go", s.Faults()[fakeapi.Sensay], fakeapi.Faults{Latency: time.Millisecond, Jitter: time.Microsecond, Rate: 1000,
			Burst: 5, RetryAfter: "2", Reject: 403, Chances: map[fakeapi.Fault]float64{"cut+after": 0.05}, SlowFor: 3 * time.Second})
		resp, _, err := deleteEntry(t, base, 7)
		want(t, "error", err, nil)
		want(t, "status", status(resp), 403)
		want(t, "removed", admin(t, "DELETE", "faults", "", 200), `{"kv":{},"sensay":{}}`+"\n")
	})
	t.Run("invalid faults are refused and change nothing", func(t *testing.T) {
		for body, words := range map[string]string{
			`{"kv":{"reject":1}}`:                           "reject must be 401, 403, or 0 for none",
			`{"kv":{"latency":"1s"},"sensay":{"burst":-1}}`: "burst must not be negative",
			`{"kw":{}}`:                            `unknown API \"kw\"`,
			`{"kv":{"latency":5}}`:                 "a duration has the form",
			`{"kv":{"latencies":"5s"}}`:            "latencies",
			`{"kv":{"reject":401,"reject":403}}`:   "duplicate",
			`{"kv":{}} x`:                          "invalid character",
			``:                                     "unexpected EOF",
			`{"sensay":{"chances":{"sloow":0.1}}}`: `unknown fault \"sloow\"`,
			`{"sensay":{"chances":{"503":0.9,"500":0.9}}}`:   "chances must not add up to more than 1",
			`{"sensay":{"chances":{"503":0.9,"cut":"0.9"}}}`: "chances",
		} {
			if got := admin(t, "PUT", "faults", body, 400); !strings.Contains(got, words) {
				t.Errorf("%s gives %s, which does not contain %q", body, got, words)
			}
		}
		want(t, "shown", admin(t, "GET", "faults", "", 200), `{"kv":{},"sensay":{}}`+"\n")
	})
	t.Run("a script is set, shown, used and removed", func(t *testing.T) {
		admin(t, "PUT", "scripts/"+entry, `[{"fault":"503","times":2,"retry_after":"1"},{"fault":"cut+after"}]`, 200)
		resp, _, err := deleteEntry(t, base, 1)
		want(t, "error", err, nil)
		want(t, "status", status(resp), 503)
		want(t, "left", admin(t, "GET", "scripts", "", 200),
			`{"`+entry+`":[{"fault":"503","times":1,"retry_after":"1"},{"fault":"cut+after","times":1}]}`+"\n")
		admin(t, "DELETE", "scripts/"+entry, "", 204)
		want(t, "left", admin(t, "GET", "scripts", "", 200), "{}\n")
		admin(t, "PUT", "scripts/kv/5", `[{"fault":"refused","times":-1}]`, 200)
		admin(t, "DELETE", "scripts", "", 204)
		want(t, "left", admin(t, "GET", "scripts", "", 200), "{}\n")
		admin(t, "PUT", "scripts/kv/0", `[]`, 400)
		admin(t, "PUT", "scripts/kv/1", `[{"fault":"pending"}]`, 400)
	})
	t.Run("the state of an entry is set and shown", func(t *testing.T) {
		want(t, "before", admin(t, "GET", "entries/"+entry, "", 200), `{"state":"present"}`+"\n")
		want(t, "put", admin(t, "PUT", "entries/"+entry, `{"state":"unknown"}`, 200), `{"state":"unknown"}`+"\n")
		resp, _, err := deleteEntry(t, base, 1)
		want(t, "error", err, nil)
		want(t, "status", status(resp), 404)
		admin(t, "PUT", "entries/"+entry, `{"state":"lost"}`, 400)
		admin(t, "GET", "entries/nothing", "", 400)
	})
	t.Run("calls, deletions and counts equal those of the Go methods", func(t *testing.T) {
		if _, _, err := deleteContexts(t, base, `{"ids":[1,2]}`); err != nil {
			t.Fatal(err)
		}
		var calls []fakeapi.Call
		if err := json.Unmarshal([]byte(admin(t, "GET", "calls", "", 200)), &calls); err != nil {
			t.Fatal(err)
		}
		want(t, "calls", calls, s.Calls())
		for query, count := range map[string]int{"?api=kv": 1, "?entry=kv/2": 1, "?entry=kv/3": 0, "?limit=2": 2, "?after=3": 1} {
			var some []fakeapi.Call
			if err := json.Unmarshal([]byte(admin(t, "GET", "calls"+query, "", 200)), &some); err != nil {
				t.Fatal(err)
			}
			want(t, query, len(some), count)
		}
		admin(t, "GET", "calls?limit=x", "", 400)
		var deleted []fakeapi.Deletion
		if err := json.Unmarshal([]byte(admin(t, "GET", "deleted", "", 200)), &deleted); err != nil {
			t.Fatal(err)
		}
		want(t, "deleted", deleted, s.Deleted())
		var stats map[fakeapi.API]fakeapi.Stats
		if err := json.Unmarshal([]byte(admin(t, "GET", "stats", "", 200)), &stats); err != nil {
			t.Fatal(err)
		}
		want(t, "stats", stats, s.Stats())
		admin(t, "DELETE", "calls", "", 204)
		want(t, "calls after a reset", admin(t, "GET", "calls", "", 200), "[]\n")
	})
	t.Run("another path is not found", func(t *testing.T) {
		admin(t, "GET", "nonsense", "", 404)
		admin(t, "POST", "calls", "", 404)
	})
}
