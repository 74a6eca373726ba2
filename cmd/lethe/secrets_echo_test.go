package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Two credentials with all characters that a format has to escape.
const (
	echoedKey    = `kV-Key&"One/%7e<2026>+long_enough'to-Halve`
	echoedSecret = `Sensay~Secret=two;and\backslash?more#Than:half`
)

// Resources with these numbers and above get other answers than an echo.
const (
	firstRefused = 1_000_000 // 401, with everything, for as long as refuse is set
	firstStuck   = 2_000_000 // no answer before the test ends
)

// echoServer is one server for both APIs that echoes what it was sent. The resource
// numbered n gets answer n-1 of echoes, and the documented answer after that. It
// writes raw bytes, so that answers can be broken.
type echoServer struct {
	*httptest.Server

	mu       sync.Mutex
	right    map[string]int // calls with the secret that the API knows, by its header
	wrong    int            // calls with another secret
	calls    map[string]int // by path and number
	followed int            // redirects
	refuse   bool
	stuck    chan string // receives when a call arrives that is not answered
	over     chan struct{}
}

func newEchoServer(t *testing.T) *echoServer {
	p := &echoServer{right: map[string]int{}, calls: map[string]int{}, stuck: make(chan string, 10), over: make(chan struct{})}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		close(p.over)
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *echoServer) setRefuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

func (p *echoServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a body that cannot be read has no number
	header, want, number := "X-Organization-Secret", echoedSecret, path.Base(r.URL.Path)
	if strings.HasPrefix(r.URL.Path, "/api/") {
		header, want, number = "Access-Key", echoedKey, strings.TrimSuffix(strings.TrimPrefix(string(body), `{"ids":[`), "]}")
	}
	secret := r.Header.Get(header)
	n, err := strconv.Atoi(number)

	p.mu.Lock()
	if strings.HasPrefix(r.URL.Path, "/elsewhere") {
		p.followed++
	}
	if secret == want {
		p.right[header]++
	} else {
		p.wrong++
	}
	call := header + " " + number
	p.calls[call]++
	calls, refuse := p.calls[call], p.refuse
	p.mu.Unlock()

	switch {
	case err != nil || secret == "":
		http.Error(w, "no such thing", http.StatusNotFound)
	case n >= firstStuck:
		p.stuck <- call
		<-p.over
	case n >= firstRefused && refuse:
		p.write(w, reply(http.StatusUnauthorized, "Unauthorized", "", object("error", allSpellings(secret), "request_id", allSpellings(secret))))
	case n <= len(echoes) && (calls == 1 || echoes[n-1].always):
		p.write(w, echoes[n-1].answer(p.URL, secret))
	default:
		p.write(w, reply(http.StatusOK, "OK", "", object("success", true, "message", allSpellings(secret), "request_id", allSpellings(secret))))
	}
}

// write sends bytes and leaves the connection open.
func (p *echoServer) write(w http.ResponseWriter, raw string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err) // it is HTTP/1.1
	}
	_, _ = io.WriteString(conn, raw) // the client may have disconnected
	if c, ok := conn.(*net.TCPConn); ok && !strings.Contains(raw, "Keep: open") {
		_ = c.CloseWrite()
	}
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
}

// echo is one way to echo a secret.
type echo struct {
	name   string
	answer func(base, secret string) string
	always bool // also after the first call for a resource
}

// reply is a well-formed answer with a JSON body.
func reply(status int, reason, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", status, reason, len(body), headers, body)
}

func object(pairs ...any) string {
	all := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i].(string)] = pairs[i+1]
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // it contains only strings and booleans
	}
	return string(text)
}

// problem is an entry of a validation error.
func problem(loc, msg string) string {
	return `{"detail":[` + object("loc", []string{"body", loc}, "msg", msg, "type", "value_error") + `]}`
}

// bodies are the places in JSON that contain an API's message.
var bodies = map[string]func(secret string) string{
	"error and request_id": func(s string) string {
		return object("error", allSpellings(s), "request_id", allSpellings(s), "success", true)
	},
	"message":              func(s string) string { return object("message", allSpellings(s), "success", true) },
	"detail":               func(s string) string { return object("detail", allSpellings(s)) },
	"detail, no text":      func(s string) string { return object("detail", map[string]string{allSpellings(s): allSpellings(s)}) },
	"value":                func(s string) string { return `{"value":` + object("message", allSpellings(s)) + `}` },
	"a problem":            func(s string) string { return problem(allSpellings(s), allSpellings(s)) },
	"two halves":           func(s string) string { return problem(s[:len(s)/2], s[len(s)/2:]) },
	"two lines":            func(s string) string { return object("message", s[:len(s)/2]+"\n"+s[len(s)/2:]) },
	"written as \\u":       func(s string) string { return `{"message":"` + each(s, `\u%04x`) + `"}` },
	"a list of ids":        func(s string) string { return `{"message":"x","data":` + object("invalid_ids", []string{s}) + `}` },
	"a text cut in a half": func(s string) string { return `{"message":"` + s[:len(s)/2] },
}

// echoes returns all ways, in the order of their numbers.
var echoes = func() (all []echo) {
	for _, status := range []int{200, 202, 206, 400, 401, 403, 404, 418, 422, 429, 500, 503} {
		for name, body := range bodies {
			all = append(all, echo{fmt.Sprintf("%d, %s", status, name), func(_, secret string) string {
				return reply(status, http.StatusText(status), "", body(secret))
			}, status == http.StatusTeapot}) // so that its request fails
		}
	}
	for name, answer := range map[string]func(base, secret string) string{
		"the reason phrase": func(_, s string) string { return reply(500, s, "", "{}") },
		"every header": func(_, s string) string {
			var lines strings.Builder
			for _, name := range []string{"Retry-After", "Location", "WWW-Authenticate", "Server", "Set-Cookie", "X-Request-Id", "Warning", "Date"} {
				lines.WriteString(name + ": " + allSpellings(s) + "\r\n")
			}
			return reply(503, "Busy", lines.String(), "{}")
		},
		"the media type": func(_, s string) string {
			return "HTTP/1.1 200 OK\r\nContent-Type: " + s + "\r\nContent-Length: 2\r\n\r\n{}"
		},
		"the length":             func(_, s string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + s + "\r\n\r\n{}" },
		"the transfer coding":    func(_, s string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + s + "\r\n\r\n{}" },
		"the status":             func(_, s string) string { return "HTTP/1.1 " + s + "\r\n\r\n" },
		"the version":            func(_, s string) string { return s + " 200 OK\r\n\r\n" },
		"half of it, and no end": func(_, s string) string { return s[:len(s)/2] },
		"a header without colon": func(_, s string) string { return "HTTP/1.1 200 OK\r\n" + s[:len(s)/2] + "\r\n\r\n" },
		"a header's name":        func(_, s string) string { return "HTTP/1.1 200 OK\r\n" + s + ": x\r\n\r\n" },
		"a trailer": func(_, s string) string {
			return "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + s[:len(s)/2] + "\r\n\r\n"
		},
		"a chunk's length": func(_, s string) string {
			return "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n" + s + "\r\n{}"
		},
		"an early hint": func(_, s string) string {
			return "HTTP/1.1 103 Early\r\nLink: " + s + "\r\n\r\n" + reply(500, s, "", object("message", s))
		},
		"another protocol": func(_, s string) string {
			return "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: " + s + "\r\n\r\n" + s
		},
		"a page": func(_, s string) string {
			return "HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" + allSpellings(s)
		},
		"a page for a 404": func(_, s string) string {
			return "HTTP/1.1 404 No\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" + allSpellings(s)
		},
		"a body without end": func(_, s string) string { return reply(200, "OK", "", object("message", s)+strings.Repeat(s, 2000)) },
		"a body that breaks": func(_, s string) string {
			return strings.TrimSuffix(reply(422, "No", "", object("message", s)), s[len(s)/2:]+`"}`)
		},
		"a redirect": func(base, s string) string {
			return reply(307, "Go", "Location: "+base+"/elsewhere?key="+each(s, "%%%02x")+"\r\n", "{}")
		},
		"a redirect of a GET": func(base, s string) string {
			return reply(303, "Go", "Location: "+base+"/elsewhere/"+each(s, "%%%02x")+"\r\n", "{}")
		},
		"a redirect to no URL": func(_, s string) string { return reply(308, "Go", "Location: http://%zz/"+s+"\r\n", "{}") },
		// net/http logs unsolicited responses.
		"more than the body":                   func(_, s string) string { return reply(500, "No", "Keep: open\r\n", "{}") + "more: " + allSpellings(s) },
		"more than the body, without a secret": func(_, _ string) string { return reply(500, "No", "Keep: open\r\n", "{}") + "more: nothing" },
	} {
		all = append(all, echo{name, answer, false})
	}
	return all
}()
