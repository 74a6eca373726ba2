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
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A server answers twice. The second answer arrives before the next request is written, but
// after the transport has begun to expect an answer.
func TestAnEarlyAnswerIsDiscarded(t *testing.T) {
	model := httptest.NewUnstartedServer(nil)
	model.StartTLS()
	t.Cleanup(model.Close)
	for name, c := range map[string]struct {
		secured bool
		early   string
	}{
		"without TLS":          {false, secondAnswer},
		"over TLS":             {true, secondAnswer},
		"in part":              {false, secondAnswer[:20]},
		"its first byte alone": {true, secondAnswer[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			listener, scheme := listen(t), "http://"
			if c.secured {
				listener = tls.NewListener(listener, &tls.Config{Certificates: model.TLS.Certificates})
				scheme = "https://"
			}
			again, arrived := make(chan struct{}), make(chan struct{}, 10)
			answerTwice(t, listener, c.early, again, arrived)
			client := newTestClient(t, scheme+listener.Addr().String())
			client.pool.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test's own server
			t.Cleanup(client.CloseIdle)

			notFound := func(r Response) Answer { return Answer{Verdict: NotFound} }
			if got := client.Call(t.Context(), http.MethodDelete, "/first", nil, nil, notFound); got.Verdict != NotFound {
				t.Fatalf("%+v", got)
			}
			<-arrived
			var conn *fencedConn
			var once sync.Once
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				GotConn: func(got httptrace.GotConnInfo) { conn, _ = unwrap(got.Conn) },
				WroteHeaderField: func(string, []string) { // into a buffer
					once.Do(func() {
						<-conn.reads.done() // the transport offers a connection before its reader waits
						close(again)
						for waiting(conn.reads) {
							runtime.Gosched()
						}
					})
				},
			})
			got := client.Call(ctx, http.MethodDelete, "/second", nil, nil, func(r Response) Answer {
				return Answer{Verdict: Deleted, Message: string(r.Body)}
			})
			// The call is made on another connection, and gets its own answer.
			if got.Verdict != Deleted || len(arrived) != 1 || got.Message != documented {
				t.Errorf("%+v, and %d requests arrived", got, len(arrived))
			}
		})
	}
}

const secondAnswer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

// answerTwice answers the first request on the first connection with 404. When again is closed,
// it sends early, the beginning of a second answer. The rest follows a second request. On other
// connections it answers as documented.
func answerTwice(t *testing.T, listener net.Listener, early string, again, arrived chan struct{}) {
	t.Helper()
	var serving sync.WaitGroup
	serving.Go(func() {
		for first := true; ; first = false {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				buffer := make([]byte, 4096)
				for nth := 1; ; nth++ {
					if _, err := conn.Read(buffer); err != nil {
						return
					}
					arrived <- struct{}{}
					switch {
					case !first:
						_, _ = io.WriteString(conn, good)
					case nth == 1:
						_, _ = io.WriteString(conn, secondAnswer)
						<-again
						_, _ = io.WriteString(conn, early)
					default:
						_, _ = io.WriteString(conn, secondAnswer[len(early):])
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
}

func waiting(r *readTracker) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting && !r.over
}

// The reader closes a connection on which an answer came too early. Over TLS the close
// writes an alert, although the next call's fence is set already.
func TestTheReaderOfATLSConnectionCanCloseIt(t *testing.T) {
	model := httptest.NewUnstartedServer(nil)
	model.StartTLS()
	t.Cleanup(model.Close)
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			server := tls.Server(there, &tls.Config{Certificates: model.TLS.Certificates})
			conn := &fencedConn{Conn: here, reads: newReadTracker()}
			client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: version}) //nolint:gosec // the test's own server
			var work sync.WaitGroup
			var closed error
			work.Go(func() {
				if closed = server.HandshakeContext(t.Context()); closed == nil {
					_, closed = server.Read(make([]byte, 1))
				}
			})
			if err := client.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			f := newFence(ctx, cancel)
			conn.fence.Store(f)
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			work.Wait()
			if !errors.Is(closed, io.EOF) { // which is what the alert means
				t.Errorf("the server read %v", closed)
			}
			if _, err := client.Write([]byte("DELETE")); err == nil {
				t.Error("a request was written after the close")
			}
			if _, passed, _ := f.end(); passed {
				t.Error("the alert counts as the request")
			}
		})
	}
}

// A server violates TLS as the next call begins. The reader writes an alert. That write waits
// at the call's fence for the reader itself, and the transport waits for the write before it
// closes the connection.
func TestTheAlertOfATLSReaderEndsWithTheCall(t *testing.T) {
	model := httptest.NewUnstartedServer(nil)
	model.StartTLS()
	t.Cleanup(model.Close)
	here, there := net.Pipe()
	conn := &fencedConn{Conn: here, reads: newReadTracker()}
	t.Cleanup(func() { _ = conn.Close() }) // this ends every wait
	server := tls.Server(there, &tls.Config{Certificates: model.TLS.Certificates})
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own server
	var handshake sync.WaitGroup
	handshake.Go(func() {
		if err := server.HandshakeContext(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	f := newFence(ctx, cancel)
	conn.fence.Store(f)
	read := make(chan error, 1)
	go func() {
		_, err := client.Read(make([]byte, 1))
		read <- err
	}()
	handshake.Wait()
	if _, err := there.Write([]byte("this is not a TLS record")); err != nil {
		t.Fatal(err)
	}
	cancel(context.DeadlineExceeded)
	select {
	case err := <-read:
		if err == nil {
			t.Error("the reader accepted it as an answer")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the reader waits for itself")
	}
	if _, passed, _ := f.end(); passed {
		t.Error("the alert counts as the request")
	}
}

// The reader may have read bytes that the transport has not parsed yet.
func TestARequestWaitsUntilEarlierBytesAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		then func(*fencedConn, *fence)
		want error
	}{
		"they are an answer":       {func(_ *fencedConn, f *fence) { f.close(errEarly) }, errEarly},
		"they are not an answer":   {func(c *fencedConn, _ *fence) { c.reads.begin() }, nil},
		"the call has ended":       {func(_ *fencedConn, f *fence) { _, _, _ = f.end() }, errEnded},
		"the connection has ended": {func(c *fencedConn, _ *fence) { c.reads.stop() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				conn := &fencedConn{Conn: here, reads: newReadTracker()}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				f := newFence(ctx, cancel)
				conn.fence.Store(f)
				var came int
				var wrote error
				var work sync.WaitGroup
				work.Go(func() { came, _ = there.Read(make([]byte, 10)) })
				work.Go(func() { _, wrote = conn.Write([]byte("request")); _ = conn.Close() })
				synctest.Wait()
				if came > 0 {
					t.Error("the request was written before earlier bytes were parsed")
				}
				c.then(conn, f)
				work.Wait()
				if !errors.Is(wrote, c.want) || (came > 0) != (c.want == nil) {
					t.Errorf("%d bytes came, %v", came, wrote)
				}
			})
		})
	}
}
