package deleter

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	documented = `{"success":true}`
	// good is a complete documented answer.
	good = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n" + documented
	// begun is a good answer up to the rest of its headers.
	begun = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
)

// strictly reads an answer as the APIs' packages do.
func strictly(r Response) Answer {
	o, err := ReadObject(r)
	switch {
	case err != nil:
		return Undocumented(r, err.Error())
	case r.Status == http.StatusOK && o.True("success"):
		return Answer{Verdict: Deleted}
	default:
		return Unknown(r)
	}
}

// hostile runs a server that gives /other a good answer, and passes the connection of any
// other call to answer.
func hostile(t *testing.T, listener net.Listener, answer func(net.Conn)) {
	t.Helper()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				for r := bufio.NewReader(conn); ; {
					request, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, request.Body)
					if request.URL.Path != "/other" {
						answer(conn)
						return
					}
					_, _ = io.WriteString(conn, good)
				}
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// endless writes text, and then again without end, until the client closes the connection.
func endless(text, again string) func(net.Conn) {
	more := []byte(strings.Repeat(again, 1+4096/len(again)))
	return func(c net.Conn) {
		_, err := io.WriteString(c, text)
		for err == nil {
			_, err = c.Write(more)
		}
	}
}

// dripping writes text byte by byte, again and again.
func dripping(text string) func(net.Conn) {
	return func(c net.Conn) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
			<-tick.C
		}
	}
}

// silent writes text, and then nothing until the client closes the connection.
func silent(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	}
}

// sized returns the last headers and a body of the length that they name.
func sized(body string) string {
	return fmt.Sprintf("Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// bomb returns a small compressed body of 16 MiB.
func bomb() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, documented+strings.Repeat(" ", 16<<20))
	_ = z.Close()
	return b.String()
}

// A hostile answer is not a deletion, takes no longer than the time-out, and costs little
// memory. Other calls to the same server do not wait.
func TestAHostileAnswerIsARetry(t *testing.T) {
	const chunked = begun + "Transfer-Encoding: chunked\r\n\r\n"
	const chunk = "10\r\n" + documented + "\r\n"
	for name, answer := range map[string]func(net.Conn){
		"a reason without an end":            endless("HTTP/1.1 200 ", "OK"),
		"a header line without an end":       endless(begun+"X-More: ", "x"),
		"header lines without an end":        endless(begun, "X-More: x\r\n"),
		"empty headers without an end":       endless(begun, "X:\r\n"),
		"a continued header without an end":  endless(begun+"X: y\r\n", " z\r\n"),
		"interim answers without an end":     endless("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
		"interim answers without end":        endless("", "HTTP/1.1 100 Continue\r\n\r\n"),
		"a body without an end":              endless(begun+"\r\n"+documented, " "),
		"chunks without an end":              endless(chunked+chunk, "1\r\n \r\n"),
		"a chunk's extension without an end": endless(chunked+"10;", "x"),
		"a chunk's size without an end":      endless(chunked, "0"),
		"chunks with long extensions":        endless(chunked+chunk, "1;"+strings.Repeat("x", 2000)+"\r\n \r\n"),
		"a trailer line without an end":      endless(chunked+chunk+"0\r\nX-More: ", "x"),
		"trailer lines without an end":       endless(chunked+chunk+"0\r\n", "X-More: x\r\n"),
		"a status line that drips":           dripping("HTTP/1.1 200 OK"),
		"headers that drip":                  dripping(begun),
		"interim answers that drip":          dripping("HTTP/1.1 103 Early Hints\r\n\r\n"),
		"a body that stops":                  silent(begun + "Content-Length: 100\r\n\r\n" + documented),
		"a body with a huge length":          silent(begun + "Content-Length: 4611686018427387904\r\n\r\n" + documented),
		"chunks that stop":                   silent(chunked + chunk),
		"a trailer that stops":               silent(chunked + chunk + "0\r\n"),
		"a negative length":                  silent(begun + "Content-Length: -1\r\n\r\n" + documented),
		"two lengths":                        silent(begun + "Content-Length: 15\r\n" + sized(documented)),
		"a length in words":                  silent(begun + "Content-Length: sixteen\r\n\r\n" + documented),
		"half a JSON":                        silent(begun + sized(`{"success":true`)),
		"a JSON and a half":                  silent(begun + sized(documented+`{"suc`)),
		"a length that cuts the JSON":        silent(begun + "Connection: close\r\nContent-Length: 15\r\n\r\n" + documented),
		"a compressed body":                  silent(begun + "Content-Encoding: gzip\r\n" + sized(bomb())),
		"a compressed transfer":              silent(begun + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk + "0\r\n\r\n"),
		"an unknown transfer":                silent(begun + "Transfer-Encoding: identity, x\r\n\r\n" + documented),
		"no status":                          silent("HTTP/1.1 OK\r\n" + sized(documented)),
		"the answer in a trailer":            silent("HTTP/1.1 500 No\r\nConnection: close\r\nTrailer: Status\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + "0\r\nStatus: 200\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			listener := listen(t)
			hostile(t, listener, answer)
			client := newTestClient(t, "http://"+listener.Addr().String())
			hasty, patient := impatient(client)
			other := func() Answer {
				return patient.Call(t.Context(), http.MethodDelete, "/other", nil, nil, strictly)
			}
			if got := other(); got.Verdict != Deleted {
				t.Fatalf("before: %+v", got)
			}
			var got Answer
			var others []Answer
			began := time.Now()
			cost := allocated(func() {
				var call sync.WaitGroup
				call.Go(func() { got = hasty.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, strictly) })
				for range 3 {
					others = append(others, other())
				}
				call.Wait()
			})
			if got.Verdict != Retry || !got.MayHaveDeleted || got.Message == "" || len(got.Message) > MaxMessage {
				t.Errorf("%+v", got)
			}
			if took := time.Since(began); took > 20*time.Second { // generous, because the machine may be busy
				t.Errorf("took %s", took)
			}
			for _, other := range others {
				if other.Verdict != Deleted {
					t.Errorf("another call: %+v", other)
				}
			}
			// Measured, with the other calls and the server: 1.4 MB for 64 KiB of the shortest
			// headers, and a third of that for most cases.
			if t.Logf("%d bytes of memory: %s", cost, got.Message); cost > 64*MaxBody {
				t.Errorf("cost %d bytes of memory", cost)
			}
		})
	}
}

// impatient returns two clients with the connections of c: one with a short time-out for
// answers that do not come, and one with a time-out for a busy machine.
func impatient(c *Client) (hasty, patient *Client) {
	one, other := *c, *c
	one.Timeout, other.Timeout = 500*time.Millisecond, time.Minute
	return &one, &other
}

// allocated returns how many bytes do allocates in total.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A trailer must not count as a header: it may have any name.
func TestATrailerIsIgnored(t *testing.T) {
	listener := listen(t)
	hostile(t, listener, silent("HTTP/1.1 429 Slow\r\nTrailer: Retry-After\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"10\r\n"+documented+"\r\n0\r\nRetry-After: 17\r\nContent-Type: application/json\r\n\r\n"))
	client := newTestClient(t, "http://"+listener.Addr().String())
	got := client.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, strictly)
	if got.Verdict != Retry || got.RetryAfter != 0 || got.Status != http.StatusTooManyRequests {
		t.Errorf("%+v", got)
	}
}

// On HTTP/1 an answer belongs to a call by its position alone. A server that sends one
// answer too many would answer the next call, which it has not received.
func TestAnAnswerThatCameBeforeItsCallIsIgnored(t *testing.T) {
	out := log.Writer()
	log.SetOutput(io.Discard) // the transport logs unsolicited answers
	t.Cleanup(func() { log.SetOutput(out) })
	model := httptest.NewUnstartedServer(nil)
	model.StartTLS()
	t.Cleanup(model.Close)
	for name, secured := range map[string]bool{"without TLS": false, "over TLS": true} {
		t.Run(name, func(t *testing.T) {
			rounds := 150
			if secured {
				rounds = 25 // each call needs a handshake
			}
			listener, scheme := listen(t), "http://"
			if secured {
				listener = tls.NewListener(listener, &tls.Config{Certificates: model.TLS.Certificates})
				scheme = "https://"
			}
			answer := func(status int, more string) string {
				return fmt.Sprintf("HTTP/1.1 %d Some\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n%s", status, more)
			}
			hostile(t, listener, func(c net.Conn) {
				_, _ = io.WriteString(c, answer(http.StatusServiceUnavailable, good))
				_, _ = io.Copy(io.Discard, c)
			})
			client := newTestClient(t, scheme+listener.Addr().String())
			client.Timeout = time.Minute
			client.pool.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test's own server
			var calls sync.WaitGroup
			for range 16 { // each reuses the connections of others
				calls.Go(func() {
					for range rounds {
						got := client.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, strictly)
						none := got.Status == 0 && got.Verdict == Retry && !got.MayHaveDeleted // no connection was usable
						if got.Status != http.StatusServiceUnavailable && !none {
							t.Errorf("%+v", got)
						}
					}
				})
			}
			calls.Wait()
		})
	}
}
