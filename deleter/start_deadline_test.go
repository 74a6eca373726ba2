package deleter

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/http2"
)

// ways are the kinds of connections to a server.
var ways = map[string]func(t *testing.T, handler http.HandlerFunc) *Client{
	"without TLS": func(t *testing.T, handler http.HandlerFunc) *Client { return newTestClient(t, serve(t, handler)) },
	"over TLS": func(t *testing.T, handler http.HandlerFunc) *Client {
		client, _ := secure(t, handler)
		speakHTTP1(client)
		return client
	},
	"on HTTP/2": func(t *testing.T, handler http.HandlerFunc) *Client {
		client, _ := secure(t, handler)
		return client
	},
	"over TLS through a proxy with TLS": func(t *testing.T, handler http.HandlerFunc) *Client {
		client, _ := secure(t, handler)
		speakHTTP1(client)
		return throughProxy(t, client)
	},
	"on HTTP/2 through a proxy with TLS": func(t *testing.T, handler http.HandlerFunc) *Client {
		client, _ := secure(t, handler)
		return throughProxy(t, client)
	},
}

// throughProxy lets the client call through an HTTPS proxy.
func throughProxy(t *testing.T, client *Client) *Client {
	t.Helper()
	proxy := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server, err := net.Dial("tcp", r.Host)
		if err != nil || r.Method != http.MethodConnect {
			t.Errorf("the proxy got %s %s: %v", r.Method, r.Host, err)
			return
		}
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(server, here); _ = server.Close() }()
		_, _ = io.Copy(here, server)
		_ = here.Close()
	}))
	t.Cleanup(proxy.Close)
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client.pool.Proxy = http.ProxyURL(address)
	client.pool.TLSClientConfig.InsecureSkipVerify = true
	t.Cleanup(client.CloseIdle) // before the proxy waits for its connections
	return client
}

// suspended returns t as it compares after the machine was suspended for a time: the
// monotonic reading is unchanged, the wall clock is behind.
func suspended(t time.Time, by time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // 1 bit for the monotonic reading, 33 of seconds, 30 of nanoseconds
	*wall -= uint64(by/time.Second) << 30
	return t
}

func TestATimePassesByEitherClock(t *testing.T) {
	now := time.Now()
	if now.Add(time.Minute).Sub(suspended(now.Add(time.Minute), time.Hour)) != 0 {
		t.Fatal("the monotonic reading has changed") // time has another layout
	}
	for name, c := range map[string]struct {
		at   time.Time
		want bool
	}{
		"past":                            {now.Add(-time.Minute), true},
		"future":                          {now.Add(time.Minute), false},
		"past by the wall clock alone":    {suspended(now.Add(time.Minute), time.Hour), true},
		"past by the monotonic one alone": {suspended(now.Add(-time.Minute), -time.Hour), true},
		"past, as read from a message":    {now.Add(-time.Minute).Round(0), true},
		"future, as read from a message":  {now.Add(time.Minute).Round(0), false},
	} {
		if got := Passed(c.at); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestALateCallIsNotMade(t *testing.T) {
	for name, way := range ways {
		for name2, used := range map[string]bool{"a new connection": false, "an idle connection": true} {
			t.Run(name+" on "+name2, func(t *testing.T) {
				var requests atomic.Int32
				client := way(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
				var before int32
				if used {
					before = 1
					if got := call(t, client); got.Verdict != Deleted {
						t.Fatalf("%+v", got)
					}
				}
				for what, at := range map[string]time.Time{
					"too late":                      time.Now().Add(-time.Second),
					"too late by the wall clock":    suspended(time.Now().Add(time.Hour), 2*time.Hour),
					"too late by the monotonic one": suspended(time.Now().Add(-time.Second), -time.Hour),
				} {
					got := callBy(t, client, at)
					if got.Verdict != Retry || got.MayHaveDeleted || got.Message != errTooLate.Error() || requests.Load() != before {
						t.Errorf("%s: %+v, %d requests", what, got, requests.Load())
					}
				}
				if got := callBy(t, client, time.Now().Add(time.Hour)); got.Verdict != Deleted || requests.Load() != before+1 {
					t.Errorf("in time: %+v, %d requests", got, requests.Load())
				}
			})
		}
	}
}

// The process may be stopped after any check but the last, which is directly before the
// write.
func TestACallStoppedBeforeItsWriteIsNotMade(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			client := way(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
			if got := call(t, client); got.Verdict != Deleted {
				t.Fatalf("%+v", got)
			}
			at := time.Now().Add(200 * time.Millisecond)
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				WroteHeaderField: func(string, []string) { time.Sleep(time.Until(at) + time.Millisecond) }, // into a buffer
			})
			got := client.Call(WithStartDeadline(ctx, at), http.MethodDelete, "/thing", nil, nil, Unknown)
			if got.Verdict != Retry || got.MayHaveDeleted || got.Message != errTooLate.Error() || requests.Load() != 1 {
				t.Errorf("%+v, %d requests", got, requests.Load())
			}
			if got := callBy(t, client, time.Now().Add(time.Hour)); got.Verdict != Deleted || requests.Load() != 2 {
				t.Errorf("after it: %+v, %d requests", got, requests.Load())
			}
		})
	}
}

// While a call's header is encoded, crypto/tls may write an answer to a key update of the server.
func TestAWriteOfTLSLetsNoLateCallPass(t *testing.T) {
	var requests atomic.Int32
	client, _ := secure(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	var conn *fencedConn
	ask := func(by time.Time, encoded func()) Answer {
		return client.Call(WithStartDeadline(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn:          func(got httptrace.GotConnInfo) { conn, _ = unwrap(got.Conn) },
			WroteHeaderField: func(string, []string) { encoded() },
		}), by), http.MethodDelete, "/thing", nil, nil, func(Response) Answer { return Answer{Verdict: Deleted} })
	}
	fields := 0
	if got := ask(time.Now().Add(time.Hour), func() { fields++ }); got.Verdict != Deleted || fields == 0 {
		t.Fatalf("%+v, %d fields", got, fields)
	}
	by := time.Now().Add(time.Second)
	got := ask(by, func() {
		if fields--; fields > 0 {
			return
		}
		if _, err := conn.Write(nil); err != nil { // passes the fence as that answer does
			t.Errorf("a write in time: %v", err)
		}
		time.Sleep(time.Until(by) + time.Millisecond) // as if the process was stopped
	})
	// That write may have been the request, so it counts as one.
	if got.Verdict != Retry || !got.MayHaveDeleted || requests.Load() != 1 {
		t.Errorf("%+v, %d requests", got, requests.Load())
	}
	if got := callBy(t, client, time.Now().Add(time.Hour)); got.Verdict != Deleted || requests.Load() != 2 {
		t.Errorf("after it: %+v, %d requests", got, requests.Load())
	}
}

// A call that waits for a stream on a shared connection must not close the connection,
// with all other calls on it, when its start deadline passes.
func TestALateCallDoesNotDisturbOthers(t *testing.T) {
	var requests atomic.Int32
	arrived, answer := make(chan struct{}), make(chan struct{})
	client := newHTTP2Client(t, serveFrames(t, &requests, func(f framed) error {
		switch f.nth {
		case 1:
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		case 2:
			close(arrived)
			<-answer
		}
		return f.good()
	}))
	client.pool.HTTP2.StrictMaxConcurrentRequests = true
	client.Timeout = time.Minute
	ask := func(ctx context.Context) Answer {
		return client.Call(ctx, http.MethodDelete, "/thing", nil, nil, strictly)
	}
	if got := ask(t.Context()); got.Verdict != Deleted {
		t.Fatalf("%+v", got)
	}
	first, second := make(chan Answer, 1), make(chan Answer, 1)
	go func() { first <- ask(t.Context()) }()
	<-arrived
	by := time.Now().Add(300 * time.Millisecond)
	go func() { second <- ask(WithStartDeadline(t.Context(), by)) }()
	select {
	case got := <-second:
		if got.Verdict != Retry || got.MayHaveDeleted || got.Message != errTooLate.Error() {
			t.Errorf("%+v", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits past its start deadline")
	}
	close(answer)
	if got := <-first; got.Verdict != Deleted {
		t.Errorf("the other call: %+v", got)
	}
}

// A connection without a fence gets no call.
func TestAnUnfencedConnectionIsNotUsed(t *testing.T) {
	var requests atomic.Int32
	client := newTestClient(t, serve(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	client.pool.DialContext = (&net.Dialer{}).DialContext
	if got := call(t, client); got.Verdict != Retry || got.MayHaveDeleted || got.Message != errUnfenced.Error() || requests.Load() != 0 {
		t.Fatalf("%+v, %d requests", got, requests.Load())
	}
	// The transport cannot write to it either before it notices that the call has ended.
	here, there := net.Pipe()
	defer func() { _ = there.Close() }()
	_, cancel := context.WithCancelCause(t.Context())
	newFence(t.Context(), cancel).trace().GotConn(httptrace.GotConnInfo{Conn: here})
	_ = here.SetDeadline(time.Now())
	if _, err := here.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Error("the connection is open")
	}
}

func TestAFencedConnectionIsFoundBelowTLS(t *testing.T) {
	here, there := net.Pipe()
	defer func() { _, _ = here.Close(), there.Close() }()
	var conn net.Conn = &fencedConn{Conn: here, reads: newReadTracker()}
	want := conn
	for layers := range 3 {
		if got, multiplexed := unwrap(conn); got != want || multiplexed {
			t.Errorf("below %d layers of TLS: %v", layers, got)
		}
		conn = tls.Client(conn, &tls.Config{})
	}
	if got, _ := unwrap(tls.Client(there, &tls.Config{})); got != nil {
		t.Errorf("%v is not fenced", got)
	}
}

// The deadline is for the start: a call that began in time may take longer.
func TestACallThatBeganInTimeIsNotCanceled(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			arrived := make(chan struct{}, 2)
			var last time.Time
			client := way(t, func(http.ResponseWriter, *http.Request) {
				arrived <- struct{}{}
				time.Sleep(time.Until(last) + 10*time.Millisecond)
			})
			for range 100 {
				last = time.Now().Add(100 * time.Millisecond)
				got := callBy(t, client, last)
				select {
				case <-arrived:
					if got.Verdict != Deleted {
						t.Errorf("%+v", got)
					}
					return
				default: // the machine is busy: the call did not begin in time
				}
			}
			t.Error("no call of 100 began in time")
		})
	}
}

func callBy(t *testing.T, c *Client, at time.Time) Answer {
	t.Helper()
	return c.Call(WithStartDeadline(t.Context(), at), http.MethodDelete, "/thing", nil, []byte("{}"), func(Response) Answer { return Answer{Verdict: Deleted} })
}
