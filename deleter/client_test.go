package deleter

import (
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = `s3cret"with/odd&parts`

func newTestClient(t testing.TB, base string) *Client {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := NewCredential(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(ClientConfig{BaseURL: u, Credential: credential, CredentialHeader: "X-Key", Timeout: 2 * time.Second, Concurrency: 4})
	t.Cleanup(c.CloseIdle)
	return c
}

// call makes a call. Every complete answer is Deleted, with the body as message.
func call(t testing.TB, c *Client) Answer {
	t.Helper()
	return c.Call(t.Context(), http.MethodDelete, "/thing", nil, []byte("{}"), func(r Response) Answer {
		return Answer{Verdict: Deleted, Message: string(r.Body)}
	})
}

func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// raw returns the URL of a server that reads a request and then runs then with the
// connection.
func raw(t *testing.T, then func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			then(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return "http://" + listener.Addr().String()
}

func TestHostileServers(t *testing.T) {
	write := func(text string) func(net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, text) }
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for _, c := range []struct {
		name    string
		url     func(t *testing.T) string
		mayHave bool
	}{
		{"a connection that is cut after the request was sent", func(t *testing.T) string { return raw(t, write("")) }, true},
		{"half a body", func(t *testing.T) string { return raw(t, write(ok+"Content-Length: 100\r\n\r\n{")) }, true},
		{"half a header", func(t *testing.T) string { return raw(t, write("HTTP/1.1 200 O")) }, true},
		{"something that is not HTTP", func(t *testing.T) string { return raw(t, write("SSH-2.0-hello\r\n")) }, true},
		{"headers without an end", func(t *testing.T) string {
			return raw(t, write(ok+strings.Repeat("X-More: "+strings.Repeat("x", 1000)+"\r\n", 200)+"\r\n"))
		}, true},
		{"a body without an end", func(t *testing.T) string {
			return serve(t, func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					if _, err := io.WriteString(w, strings.Repeat(" ", 4096)); err != nil {
						return
					}
				}
			})
		}, true},
		{"a body that never comes", func(t *testing.T) string {
			return serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
		}, true},
		{"no answer at all", func(t *testing.T) string {
			return serve(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the client goes
				<-r.Context().Done()
			})
		}, true},
		{"a closed port", func(t *testing.T) string {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = listener.Close() }()
			return "http://" + listener.Addr().String()
		}, false},
		{"no such host", func(*testing.T) string { return "http://host.invalid" }, false},
		{"an unknown certificate authority", func(t *testing.T) string {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = nil
			server.StartTLS()
			t.Cleanup(server.Close)
			return server.URL
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := newTestClient(t, c.url(t))
			client.Timeout = time.Second
			got := call(t, client)
			if got.Verdict != Retry || got.MayHaveDeleted != c.mayHave {
				t.Errorf("%s, may have deleted %v: %s", got.Verdict, got.MayHaveDeleted, got.Message)
			}
			if got.Message == "" || len(got.Message) > MaxMessage || strings.ContainsAny(got.Message, "\r\n") {
				t.Errorf("the message is %q", got.Message)
			}
		})
	}
}

// After a switch of protocols the connection has no time-out: the server would decide
// when the call ends.
func TestAServerCannotChangeTheProtocol(t *testing.T) {
	stop := make(chan struct{})
	late := time.AfterFunc(10*time.Second, func() { close(stop) })
	client := newTestClient(t, raw(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		<-stop
	}))
	got := client.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, Unknown)
	if got.Verdict != Retry || !got.UnknownStatus || got.Status != http.StatusSwitchingProtocols {
		t.Errorf("%+v", got)
	}
	if late.Stop() {
		close(stop)
	} else {
		t.Error("the call lasted until the server closed the connection")
	}
}

func TestACompressedBodyIsNotDecompressed(t *testing.T) {
	client := newTestClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("the request accepts %s", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		z := gzip.NewWriter(w)
		_, _ = z.Write(make([]byte, 10<<20))
		_ = z.Close()
	}))
	if got := call(t, client); len(got.Message) > MaxMessage {
		t.Errorf("%d bytes", len(got.Message))
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var followed atomic.Int32
		other := serve(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
		client := newTestClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, status) }))
		if got := call(t, client); got.Verdict != Retry || got.MayHaveDeleted != (status == http.StatusSeeOther) || followed.Load() != 0 {
			t.Errorf("%d: %s, and the other host received %d requests", status, got.Verdict, followed.Load())
		}
	}
}

func TestACallIsOneRequestAndConnectionsAreReused(t *testing.T) {
	var requests, connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { requests.Add(1) }))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client := newTestClient(t, server.URL)
	for range 20 {
		call(t, client)
	}
	if requests.Load() != 20 || connections.Load() != 1 {
		t.Errorf("%d requests over %d connections for 20 calls", requests.Load(), connections.Load())
	}
}

// net/http repeats a request by itself in some cases.
func TestARequestIsNotRepeatedAfterAnIdleConnectionIsCut(t *testing.T) {
	var requests atomic.Int32
	client := newTestClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 2 {
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}
	}))
	call(t, client)
	if got := call(t, client); got.Verdict != Retry || !got.MayHaveDeleted {
		t.Errorf("%s, may have deleted %v: %s", got.Verdict, got.MayHaveDeleted, got.Message)
	}
	if requests.Load() != 2 {
		t.Errorf("%d requests arrived for 2 calls", requests.Load())
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	client := newTestClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Retry-After"] = []string{"5", "16.2", "1"}
		w.Header()["Ratelimit-Policy"] = []string{`"default";q=500;w=1`}
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	if got := call(t, client); got.RetryAfter != 17*time.Second || got.Quota != (Quota{Rate: 500}) || got.Verdict != Retry || got.MayHaveDeleted {
		t.Errorf("%+v", got)
	}
}

func TestAnUnreadableCredentialMakesNoCall(t *testing.T) {
	file := t.TempDir() + "/key"
	if err := writeFile(file, "first"); err != nil {
		t.Fatal(err)
	}
	credential, err := CredentialFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int32
	client := newTestClient(t, serve(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	client.Credential = credential
	if err := writeFile(file, ""); err != nil {
		t.Fatal(err)
	}
	if got := call(t, client); got.Verdict != CredentialRefused || got.Status != 0 || !strings.Contains(got.Message, file) || requests.Load() != 0 {
		t.Errorf("%+v after %d requests", got, requests.Load())
	}
}
