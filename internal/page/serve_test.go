package page

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ask sends a request to a page as if it came to a local address.
func ask(t *testing.T, p *Page, local, host, target string) *http.Response {
	t.Helper()
	mux := http.NewServeMux()
	p.Register(mux)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	r.Host = host
	address, err := net.ResolveTCPAddr("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(address))))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	defer func() { _ = r.Body.Close() }()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestWhoGetsThePage(t *testing.T) {
	for name, c := range map[string]struct {
		anywhere    bool
		local, host string
		status      int
		says        string
	}{
		"loopback by name":                     {false, "127.0.0.1:8080", "localhost:8080", 200, "<h1"},
		"loopback by address":                  {false, "127.0.0.1:8080", "127.0.0.1:8080", 200, "<h1"},
		"loopback by another address":          {false, "127.0.0.2:80", "127.0.0.2", 200, "<h1"},
		"loopback of IPv6":                     {false, "[::1]:8080", "[::1]:8080", 200, "<h1"},
		"loopback of IPv6 without port":        {false, "[::1]:80", "[::1]", 200, "<h1"},
		"a name that was bound to loopback":    {false, "127.0.0.1:8080", "evil.example:8080", 421, "localhost"},
		"such a name, although it is served":   {true, "127.0.0.1:8080", "evil.example", 421, "localhost"},
		"a name that only begins like it":      {false, "127.0.0.1:8080", "localhost.evil.example", 421, "localhost"},
		"no name":                              {false, "127.0.0.1:8080", "", 421, "localhost"},
		"another address":                      {false, "10.0.0.7:8080", "10.0.0.7:8080", 403, "LETHE_ADMIN_PAGE=true"},
		"another address with a loopback Host": {false, "10.0.0.7:8080", "localhost:8080", 403, "LETHE_ADMIN_PAGE=true"},
		"another address that is served":       {true, "10.0.0.7:8080", "lethe.internal:8080", 200, "<h1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := New(suspended(time.Now()), Access{Anywhere: c.anywhere, Setting: "LETHE_ADMIN_PAGE", Log: slog.New(slog.DiscardHandler)})
			for _, target := range []string{"/", "/page.css", "/page.js", "/icon.svg"} {
				response := ask(t, p, c.local, c.host, target)
				text := body(t, response)
				if response.StatusCode != c.status || target == "/" && !strings.Contains(text, c.says) {
					t.Errorf("%s: %d %.200s", target, response.StatusCode, text)
				}
				if c.status != 200 && strings.Count(text, "\n") != 1 {
					t.Errorf("%s: the refusal is not one line: %q", target, text)
				}
			}
		})
	}
}

func TestThePageAllowsNothingFromElsewhere(t *testing.T) {
	p := pageOf(suspended(time.Now()), time.Now())
	for target, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8", "/icon.svg?level=bad": "image/svg+xml",
	} {
		response := ask(t, p, "127.0.0.1:1", "localhost", target)
		text := body(t, response)
		policy := map[string]string{}
		for directive := range strings.SplitSeq(response.Header.Get("Content-Security-Policy"), ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
			policy[name] = value
		}
		for name, value := range map[string]string{
			"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
			"form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
		} {
			if policy[name] != value {
				t.Errorf("%s: %s is %q", target, name, policy[name])
			}
		}
		for name, value := range map[string]string{
			"Content-Type": contentType, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if got := response.Header.Get(name); got != value {
				t.Errorf("%s: %s is %q", target, name, got)
			}
		}
		for _, inline := range []string{"style=", "onclick=", "<style", "http://", "https://"} {
			text := strings.ReplaceAll(text, "http://www.w3.org/2000/svg", "")
			if strings.Contains(text, inline) {
				t.Errorf("%s contains %s", target, inline)
			}
		}
	}
}

func TestOnlyReadingIsPossible(t *testing.T) {
	web := serve(t, pageOf(suspended(time.Now()), time.Now()))
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		r, err := http.NewRequestWithContext(t.Context(), method, web+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, response.StatusCode)
		}
	}
}

func TestManyViewsCostOneReading(t *testing.T) {
	s := suspended(time.Now())
	p := pageOf(s, time.Now())
	for range 20 {
		_ = body(t, ask(t, p, "127.0.0.1:1", "localhost", "/?id="+aFailed))
	}
	if s.reads != 2 { // the lists, and the search
		t.Errorf("the server was read %d times", s.reads)
	}
}

func TestASearchForSomethingElseReadsNothing(t *testing.T) {
	s := suspended(time.Now())
	p := pageOf(s, time.Now())
	_ = body(t, ask(t, p, "127.0.0.1:1", "localhost", "/"))
	before := s.reads
	for _, id := range []string{"a.b", "*", "%3E", "a%20b", strings.Repeat("x", 65), "%22%3E%3Cscript%3E"} {
		text := body(t, ask(t, p, "127.0.0.1:1", "localhost", "/?id="+id))
		if !strings.Contains(text, "This is not a request id") || strings.Contains(text, "<script>") {
			t.Errorf("%s: no refusal, or markup", id)
		}
	}
	if s.reads != before {
		t.Error("the server was read")
	}
}

func TestAPageWithoutTheServerSaysWhatItCannotKnow(t *testing.T) {
	now := time.Now()
	s := suspended(now)
	s.situation.NotReady, s.failure = "not connected to NATS", errGone
	s.situation.Lanes[0].Waiting, s.situation.Lanes[0].Oldest = nil, nil
	text := body(t, ask(t, pageOf(s, now), "127.0.0.1:1", "localhost", "/?id="+aFailed))
	for _, part := range []string{
		"This worker deletes nothing: not connected to NATS.", "<dd>unknown</dd>", "This cannot be read now: not connected to NATS.",
		"The request cannot be read: not connected to NATS.",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not contain %q", part)
		}
	}
}

// Views, searches and the recording of the history share one page.
func TestManyPeopleReadThePageUnderLoad(t *testing.T) {
	s := suspended(time.Now())
	p := pageOf(s, time.Now())
	url := serve(t, p)
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		for n := uint64(1); ctx.Err() == nil; n++ {
			s.set(func(s *source) {
				s.situation.Lanes = slices.Clone(s.situation.Lanes)
				s.situation.Lanes[0].Waiting, s.situation.Lanes[0].Totals = new(n), Totals{Calls: n, Results: map[string]uint64{"deleted": n}}
			})
			p.history.add(time.Now(), s.Situation())
		}
	})
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			for j := range 10 {
				response, err := http.Get(fmt.Sprintf("%s/?id=%d-%d", url, i, j))
				if err != nil {
					t.Error(err)
					return
				}
				if text := body(t, response); !strings.HasSuffix(strings.TrimSpace(text), "</html>") {
					t.Errorf("the page is cut off: %.200s", text)
				}
			}
		})
	}
	readers.Wait()
	stop()
	load.Wait()
	if n := len(p.answers); n > maxAnswers {
		t.Errorf("%d searches are cached", n)
	}
}
