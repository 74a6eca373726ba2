package deleter

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// The contract's section 5: the meaning of a status for all APIs.
func TestVerdictOfEachStatus(t *testing.T) {
	type meaning struct {
		verdict                       Verdict
		mayHaveDeleted, unknownStatus bool
	}
	var (
		later    = meaning{Retry, false, false}
		perhaps  = meaning{Retry, true, false}
		unknown  = meaning{Retry, false, true}
		nonsense = meaning{Retry, true, true}
		refused  = meaning{CredentialRefused, false, false}
	)
	want := map[int]meaning{
		0: perhaps, 1: perhaps, 99: perhaps, 101: nonsense, 199: perhaps, 600: nonsense, 999: nonsense,
		200: perhaps, 201: perhaps, 202: perhaps, 203: perhaps, 204: perhaps, 205: perhaps, 206: perhaps, 207: perhaps, 299: perhaps,
		300: later, 301: later, 302: later, 303: perhaps, 304: later, 305: later, 307: later, 308: later, 399: later,
		400: unknown, 401: refused, 402: unknown, 403: refused, 404: unknown, 405: unknown, 406: unknown, 407: later, 408: later, 409: unknown,
		410: unknown, 411: unknown, 412: unknown, 413: unknown, 414: unknown, 415: unknown, 417: unknown, 418: unknown, 421: later, 422: unknown,
		423: unknown, 424: unknown, 425: later, 426: unknown, 428: unknown, 429: later, 431: unknown, 451: unknown, 499: unknown,
		500: perhaps, 501: perhaps, 502: perhaps, 503: perhaps, 504: perhaps, 505: perhaps, 507: perhaps, 508: perhaps, 511: perhaps, 520: perhaps, 599: perhaps,
	}
	for status, want := range want {
		client := newTestClient(t, raw(t, func(c net.Conn) {
			_, _ = io.WriteString(c, fmt.Sprintf("HTTP/1.1 %03d Some\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: 4\r\n\r\npage", status))
		}))
		got := client.Call(t.Context(), "DELETE", "/thing", nil, nil, Unknown)
		if (meaning{got.Verdict, got.MayHaveDeleted, got.UnknownStatus}) != want {
			t.Errorf("%d: %+v", status, got)
		}
		if got.Message == "" {
			t.Errorf("%d: the answer has no message", status)
		}
	}
}

func TestAnAnswerIsExplainedOnce(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"a message":                           {`503 X|{"message":"come back later"}`, "503 Service Unavailable: come back later"},
		"a message that repeats the name":     {`503 X|{"message":"Service Unavailable"}`, "503 Service Unavailable"},
		"one with other letters and a stop":   {`403 X|{"error":"forbidden."}`, "403 Forbidden"},
		"a message that begins with the same": {`500 X|{"error":"500 Internal Server Error: disk"}`, "500 Internal Server Error: disk"},
		"a page":                              {`502 X|<html>`, "502 Bad Gateway"},
		"no answer":                           {"", "the connection was closed without an answer (EOF)"},
	} {
		client := newTestClient(t, raw(t, func(conn net.Conn) {
			if status, body, ok := strings.Cut(c.answer, "|"); ok {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
			}
		}))
		if got := client.Call(t.Context(), "DELETE", "/thing", nil, nil, Unknown); got.Message != c.want {
			t.Errorf("%s: %q, want %q", name, got.Message, c.want)
		}
	}
}
