package fakeapi_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

func script(t testing.TB, s *fakeapi.Server, e fakeapi.Entry, steps ...fakeapi.Step) {
	t.Helper()
	if err := s.Script(e, steps...); err != nil {
		t.Fatal(err)
	}
}

func TestEveryFaultOfACall(t *testing.T) {
	const lost = -1 // the caller gets no complete answer
	for _, tt := range []struct {
		fault   fakeapi.Fault
		status  int // seen by the caller
		body    string
		deletes bool
		after   bool // also with +after
	}{
		{fakeapi.None, 200, `{"success":true}`, true, false},
		{fakeapi.Cut, lost, "", false, true},
		{fakeapi.CutBody, lost, "", false, true},
		{fakeapi.Truncated, 200, `{"succes`, false, true},
		{fakeapi.Empty, 200, "", false, true},
		{fakeapi.Lie, 200, `"success":false`, false, true},
		{fakeapi.Slow, 200, `{"success":true}`, true, false},
		{fakeapi.Recycle, 200, `{"success":true}`, true, false},
		{fakeapi.AcceptPending, 202, `"success":true`, false, false},
		{"204", 204, "", false, true},
		{"307", 307, `"success":false`, false, true},
		{"401", 401, `"success":false`, false, true},
		{"404", 404, `"request_id":"xyz1::`, false, true},
		{"429", 429, `"error":"Too Many Requests"`, false, true},
		{"500", 500, `"error":"Internal Server Error"`, false, true},
		{"599", 599, `"error":"Status 599"`, false, true},
		{"html-200", 200, "<html>", false, true},
		{"html-404", 404, "<html>", false, true},
		{"html-502", 502, "502 Bad Gateway", false, true},
		{"json-404", 404, "{}", false, true},
	} {
		faults := []fakeapi.Fault{tt.fault}
		if tt.after {
			faults = append(faults, tt.fault+"+after")
		}
		for _, fault := range faults {
			t.Run(string(fault), func(t *testing.T) {
				s, base := serve(t, fakeapi.Config{Faults: map[fakeapi.API]fakeapi.Faults{
					fakeapi.Sensay: {SlowFor: time.Millisecond},
				}})
				script(t, s, sensayEntry(1), fakeapi.Step{Fault: fault})
				resp, body, err := deleteEntry(t, base, 1)
				deletes := tt.deletes || strings.HasSuffix(string(fault), "+after")
				call := last(t, s)
				if tt.status == lost {
					if err == nil {
						t.Errorf("a complete answer: %d %s", status(resp), body)
					}
					want(t, "cut", call.Cut, true)
				} else {
					want(t, "error", err, nil)
					want(t, "status", status(resp), tt.status)
					want(t, "recorded status", call.Status, tt.status)
					if !strings.Contains(body, tt.body) {
						t.Errorf("body %q does not contain %q", body, tt.body)
					}
				}
				if fault != fakeapi.None {
					want(t, "recorded fault", call.Fault, fault)
				}
				want(t, "recorded deletion", len(call.Deleted) == 1, deletes)
				want(t, "deleted", state(t, s, sensayEntry(1)) == fakeapi.StateDeleted, deletes)
				if tt.fault == "307" {
					want(t, "location", resp.Header.Get("Location"), sensayBase+"1?moved=1")
				}
			})
		}
	}
}

func TestFaultsOfOneEntryOfAList(t *testing.T) {
	s, base := serve(t, fakeapi.Config{})
	t.Run("refused is 422 with each position and deletes nothing", func(t *testing.T) {
		script(t, s, fakeapi.Context(2), fakeapi.Step{Fault: fakeapi.Refused})
		script(t, s, fakeapi.Context(4), fakeapi.Step{Fault: fakeapi.Refused})
		resp, body, err := deleteContexts(t, base, `{"ids":[1,2,3,4]}`)
		want(t, "error", err, nil)
		want(t, "status", status(resp), 422)
		want(t, "body", body, `{"detail":[{"loc":["body","ids",1],"msg":"context id is not valid","type":"value_error"},{"loc":["body","ids",3],"msg":"context id is not valid","type":"value_error"}]}`)
		want(t, "deleted", s.Deleted(), []fakeapi.Deletion{})
	})
	t.Run("partial is 206 and deletes the other entries", func(t *testing.T) {
		script(t, s, fakeapi.Context(2), fakeapi.Step{Fault: fakeapi.Partial})
		resp, body, err := deleteContexts(t, base, `{"ids":[1,2,3]}`)
		want(t, "error", err, nil)
		want(t, "status", status(resp), 206)
		want(t, "body", body, `{"data":{"invalid_contexts":[2]},"message":"Some contexts are invalid; the others were deleted"}`)
		want(t, "deleted", last(t, s).Deleted, []fakeapi.Entry{fakeapi.Context(1), fakeapi.Context(3)})
	})
	t.Run("partial for all entries is 400 with the same list", func(t *testing.T) {
		script(t, s, fakeapi.Context(2), fakeapi.Step{Fault: fakeapi.Partial})
		resp, body, err := deleteContexts(t, base, `{"ids":[2]}`)
		want(t, "error", err, nil)
		want(t, "status", status(resp), 400)
		want(t, "body", body, `{"data":{"invalid_contexts":[2]},"message":"All contexts are invalid"}`)
		want(t, "deleted", len(last(t, s).Deleted), 0)
	})
	t.Run("a fault of the whole call takes precedence over a refusal", func(t *testing.T) {
		script(t, s, fakeapi.Context(5), fakeapi.Step{Fault: fakeapi.Refused})
		script(t, s, fakeapi.Context(6), fakeapi.Step{Fault: "503"})
		resp, body, err := deleteContexts(t, base, `{"ids":[5,6]}`)
		want(t, "error", err, nil)
		want(t, "status", status(resp), 503)
		want(t, "body", body, `{"data":{},"message":"Service Unavailable"}`)
		want(t, "scripts left", len(s.Scripts()), 0)
	})
}

func TestScripts(t *testing.T) {
	t.Run("each step lasts its number of calls", func(t *testing.T) {
		s, base := serve(t, fakeapi.Config{})
		script(t, s, sensayEntry(1),
			fakeapi.Step{Fault: "503", Times: 2, RetryAfter: "7"}, fakeapi.Step{Fault: fakeapi.CutAfter})
		for i, code := range []int{503, 503, 0, 404} {
			resp, _, err := deleteEntry(t, base, 1)
			want(t, "status", status(resp), code)
			want(t, "cut", err != nil, code == 0)
			if i == 0 {
				want(t, "Retry-After", resp.Header.Get("Retry-After"), "7")
				want(t, "left", s.Scripts()[sensayEntry(1)][0].Times, 1)
			}
		}
	})
	t.Run("-1 lasts until the script is removed", func(t *testing.T) {
		s, base := serve(t, fakeapi.Config{})
		script(t, s, sensayEntry(1), fakeapi.Step{Fault: "409", Times: -1})
		for range 3 {
			resp, _, err := deleteEntry(t, base, 1)
			want(t, "error", err, nil)
			want(t, "status", status(resp), 409)
		}
		script(t, s, sensayEntry(1))
		resp, _, err := deleteEntry(t, base, 1)
		want(t, "error", err, nil)
		want(t, "status", status(resp), 200)
	})
	t.Run("a call refused for another reason takes no step", func(t *testing.T) {
		s, base := serve(t, fakeapi.Config{})
		script(t, s, sensayEntry(1), fakeapi.Step{Fault: "503"})
		resp, _, err := ask(t, "DELETE", base+sensayBase+"1", "")
		want(t, "error", err, nil)
		want(t, "status", status(resp), 401)
		want(t, "scripts left", len(s.Scripts()), 1)
	})
	t.Run("an invalid script is refused", func(t *testing.T) {
		s := fakeapi.New(fakeapi.Config{})
		for _, fault := range []fakeapi.Fault{"", "nonsense", "200", "99", "600", "html-", "html-100", "cut+before", "slow+after", "none+after", "+503", "refused"} {
			if err := s.Script(sensayEntry(1), fakeapi.Step{Fault: fault}); err == nil {
				t.Errorf("fault %q was accepted", fault)
			}
		}
		if err := s.Script(fakeapi.Context(1), fakeapi.Step{Fault: fakeapi.AcceptPending}); err == nil {
			t.Error("202 was accepted for k-v.ai, which has none")
		}
		if err := s.Script(fakeapi.Entry{}, fakeapi.Step{Fault: fakeapi.Cut}); err == nil {
			t.Error("an entry of an unknown API was accepted")
		}
		if err := s.Script(fakeapi.Context(1), fakeapi.Step{Fault: fakeapi.Cut, Times: -2}); err == nil {
			t.Error("times -2 was accepted")
		}
		if err := s.Script(fakeapi.Context(1), fakeapi.Step{Fault: "503", RetryAfter: "1\r\nX: y"}); err == nil {
			t.Error("a header of two lines was accepted")
		}
	})
}

func TestFaultsDependOnTheSeedNotOnTheOrderOfCalls(t *testing.T) {
	chances := map[fakeapi.Fault]float64{"503": 0.2, "html-502": 0.2}
	codes := func(ids []int64) map[int64]int {
		s := fakeapi.New(fakeapi.Config{Seed: 9, Faults: map[fakeapi.API]fakeapi.Faults{fakeapi.Sensay: {Chances: chances}}})
		got := make(map[int64]int)
		for _, id := range ids {
			got[id] = do(s, "DELETE", sensayBase+fakeapi.Context(id).String()[3:]).Code
		}
		return got
	}
	var up, down []int64
	for id := range int64(500) {
		up, down = append(up, id+1), append(down, 500-id)
	}
	forward := codes(up)
	want(t, "the same calls in another order", codes(down), forward)
	counts := map[int]int{}
	for _, code := range forward {
		counts[code]++
	}
	for code, about := range map[int]int{503: 100, 502: 100, 200: 300} {
		if counts[code] < about-45 || counts[code] > about+45 {
			t.Errorf("%d of 500 answers are %d, expected about %d", counts[code], code, about)
		}
	}
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fakeapi.New(fakeapi.Config{Faults: map[fakeapi.API]fakeapi.Faults{
			fakeapi.Sensay: {Rate: 0.25, Burst: 2},
		}})
		for _, code := range []int{200, 404} {
			want(t, "status within the burst", do(s, "DELETE", sensayBase+"1").Code, code)
		}
		w := do(s, "DELETE", sensayBase+"2")
		want(t, "status above the rate", w.Code, 429)
		want(t, "Retry-After", w.Header().Get("Retry-After"), "4")
		time.Sleep(4 * time.Second)
		want(t, "status after the wait", do(s, "DELETE", sensayBase+"2").Code, 200)

		if err := s.SetFaults(fakeapi.Sensay, fakeapi.Faults{Rate: 1, Burst: 1, RetryAfter: "-5"}); err != nil {
			t.Fatal(err)
		}
		want(t, "status", do(s, "DELETE", sensayBase+"3").Code, 200)
		w = do(s, "DELETE", sensayBase+"3")
		want(t, "status", w.Code, 429)
		want(t, "Retry-After, unchanged", w.Header().Get("Retry-After"), "-5")
		want(t, "counted", s.Stats()[fakeapi.Sensay].Statuses[429], uint64(2))
	})
}

func TestRateLimitHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fakeapi.New(fakeapi.Config{Faults: map[fakeapi.API]fakeapi.Faults{
			fakeapi.Sensay: {Rate: 5, Burst: 2, RateHeaders: true}, fakeapi.KV: {Rate: 0.3, RateHeaders: true},
		}})
		for i, left := range []string{"1", "0", "0"} {
			w := do(s, "DELETE", sensayBase+"1")
			want(t, "policy", w.Header().Get("RateLimit-Policy"), `"sandbox";q=5;w=1`)
			want(t, "what is left after "+strconv.Itoa(i+1), w.Header().Get("RateLimit"), `"sandbox";r=`+left+`;t=1`)
		}
		w := do(s, "DELETE", "/api/user_context/delete")
		want(t, "policy of less than a call a second", w.Header().Get("RateLimit-Policy"), `"sandbox";q=1;w=4`)
	})
}

func TestACallWithTooManyIDsGets413(t *testing.T) {
	_, base := serve(t, fakeapi.Config{Faults: map[fakeapi.API]fakeapi.Faults{fakeapi.KV: {MaxIDs: 2}}})
	for body, code := range map[string]int{`{"ids":[1,2]}`: 200, `{"ids":[3,4,5]}`: 413} {
		resp, _, err := deleteContexts(t, base, body)
		want(t, "error", err, nil)
		want(t, body, status(resp), code)
	}
}

func TestCredentialsAreRejectedAndAcceptedAgain(t *testing.T) {
	s, base := serve(t, fakeapi.Config{})
	for _, code := range []int{401, 403, 0} {
		if err := s.SetFaults(fakeapi.KV, fakeapi.Faults{Reject: code}); err != nil {
			t.Fatal(err)
		}
		resp, _, err := deleteContexts(t, base, `{"ids":[1]}`)
		want(t, "error", err, nil)
		if code == 0 {
			code = 200
		}
		want(t, "status of k-v.ai", status(resp), code)
	}
	want(t, "deleted", len(s.Deleted()), 1)
	resp, _, err := deleteEntry(t, base, 1)
	want(t, "error", err, nil)
	want(t, "status of Sensay throughout", status(resp), 200)
}

func TestLatency(t *testing.T) {
	t.Run("a call takes effect after latency and jitter", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := fakeapi.New(fakeapi.Config{Faults: map[fakeapi.API]fakeapi.Faults{
				fakeapi.Sensay: {Latency: time.Second, Jitter: time.Second},
			}})
			do(s, "DELETE", sensayBase+"1")
			call := last(t, s)
			if took := call.Time.Sub(call.Arrived); took < time.Second || took > 2*time.Second {
				t.Errorf("took %v", took)
			}
		})
	})
	t.Run("a disconnected client does not stop the deletion", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := fakeapi.New(fakeapi.Config{Faults: map[fakeapi.API]fakeapi.Faults{fakeapi.Sensay: {Latency: time.Hour}}})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, "DELETE", sensayBase+"1", nil)
			r.Header.Set("X-ORGANIZATION-SECRET", orgSecret)
			s.ServeHTTP(httptest.NewRecorder(), r)
			want(t, "state", state(t, s, sensayEntry(1)), fakeapi.StateDeleted)
		})
	})
	t.Run("Close ends every wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := fakeapi.New(fakeapi.Config{Faults: map[fakeapi.API]fakeapi.Faults{fakeapi.Sensay: {Latency: time.Hour}}})
			start := time.Now()
			go func() { _ = s.Close() }()
			want(t, "status", do(s, "DELETE", sensayBase+"1").Code, 200)
			want(t, "time taken", time.Since(start), 0)
		})
	})
}

func TestHangAndEndlessLastUntilTheClientDisconnects(t *testing.T) {
	for _, fault := range []fakeapi.Fault{fakeapi.Hang, "hang+after", fakeapi.Endless} {
		t.Run(string(fault), func(t *testing.T) {
			s, base := serve(t, fakeapi.Config{})
			script(t, s, sensayEntry(1), fakeapi.Step{Fault: fault})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodDelete, base+sensayBase+"1", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-ORGANIZATION-SECRET", orgSecret)
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("ended with %v", err)
			}
			want(t, "cut", last(t, s).Cut, true)
			want(t, "state", state(t, s, sensayEntry(1)) == fakeapi.StateDeleted, fault == "hang+after")
		})
	}
}

func TestConfigRules(t *testing.T) {
	faults := func(f fakeapi.Faults) fakeapi.Config {
		return fakeapi.Config{Faults: map[fakeapi.API]fakeapi.Faults{fakeapi.KV: f}}
	}
	for text, config := range map[string]fakeapi.Config{
		"PendingShare must be between 0 and 1":                                                 {PendingShare: 1.1},
		"UnknownShare must be between 0 and 1":                                                 {UnknownShare: -0.1},
		"AccessKey must be printable ASCII without spaces":                                     {AccessKey: "a b"},
		"OrganizationSecret must be printable ASCII without spaces":                            {OrganizationSecret: "é"},
		"PendingFor must not be negative":                                                      {PendingFor: -1},
		"MaxEntries must not be negative":                                                      {MaxEntries: -1},
		"MaxCalls must not be negative":                                                        {MaxCalls: -1},
		`Faults: unknown API "x"`:                                                              {Faults: map[fakeapi.API]fakeapi.Faults{"x": {}}},
		"Faults: kv: latency must not be negative":                                             faults(fakeapi.Faults{Latency: -1}),
		"Faults: kv: jitter must not be negative":                                              faults(fakeapi.Faults{Jitter: -1}),
		"Faults: kv: slow_for must not be negative":                                            faults(fakeapi.Faults{SlowFor: -1}),
		"Faults: kv: rate must be a number of calls a second, 0 for no limit":                  faults(fakeapi.Faults{Rate: -1}),
		"Faults: kv: burst must not be negative":                                               faults(fakeapi.Faults{Burst: -1}),
		"Faults: kv: max_ids must not be negative":                                             faults(fakeapi.Faults{MaxIDs: -1}),
		"Faults: sensay: max_ids is not for sensay, whose calls name one entry":                {Faults: map[fakeapi.API]fakeapi.Faults{fakeapi.Sensay: {MaxIDs: 1}}},
		"Faults: kv: reject must be 401, 403, or 0 for none":                                   faults(fakeapi.Faults{Reject: 500}),
		"Faults: kv: retry_after must be printable ASCII":                                      faults(fakeapi.Faults{RetryAfter: "\n"}),
		`Faults: kv: chances: unknown fault "x"`:                                               faults(fakeapi.Faults{Chances: map[fakeapi.Fault]float64{"x": 0.1}}),
		"Faults: kv: chances: fault pending is for sensay only":                                faults(fakeapi.Faults{Chances: map[fakeapi.Fault]float64{"pending": 0.1}}),
		"Faults: kv: chances: cut must be between 0 and 1":                                     faults(fakeapi.Faults{Chances: map[fakeapi.Fault]float64{"cut": 2}}),
		"Faults: kv: chances must not add up to more than 1":                                   faults(fakeapi.Faults{Chances: map[fakeapi.Fault]float64{"cut": 0.6, "503": 0.6}}),
		`unknown entries: "/0" is not an entry: use Context, KnowledgeBaseEntry or ParseEntry`: {Unknown: []fakeapi.Entry{{}}},
	} {
		t.Run(text, func(t *testing.T) {
			err := config.Validate()
			if err == nil {
				t.Fatal("it was accepted")
			}
			want(t, "error", err.Error(), text)
		})
	}
	want(t, "the zero config", fakeapi.Config{}.Validate(), nil)
}
