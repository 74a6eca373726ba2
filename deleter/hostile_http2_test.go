package deleter

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// framed writes the frames of an answer.
type framed struct {
	*http2.Framer
	stream uint32
	nth    int32 // the number of the request, from 1
}

// serveFrames runs an HTTP/2 server that counts requests. answer writes the frames of each
// answer. If it fails, the connection ends.
func serveFrames(t *testing.T, requests *atomic.Int32, answer func(framed) error) string {
	t.Helper()
	model := httptest.NewUnstartedServer(nil)
	model.StartTLS()
	certificates := model.TLS.Certificates
	model.Close()
	listener := tls.NewListener(listen(t), &tls.Config{Certificates: certificates, NextProtos: []string{"h2"}})
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { readFrames(conn, requests, answer) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	return "https://" + listener.Addr().String()
}

func readFrames(conn net.Conn, requests *atomic.Int32, answer func(framed) error) {
	defer func() { _ = conn.Close() }()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	err := framer.WriteSettings()
	for err == nil {
		var frame http2.Frame
		if frame, err = framer.ReadFrame(); err != nil {
			return
		}
		if headers, ok := frame.(*http2.HeadersFrame); ok {
			err = answer(framed{framer, headers.StreamID, requests.Add(1)})
		}
	}
}

// headers writes a header frame with the status and more fields, in pairs.
func (f framed) headers(status string, end bool, more ...string) error {
	return f.block(fields(append([]string{":status", status}, more...)...), end)
}

// block writes a header frame of the given fields.
func (f framed) block(fields []byte, end bool) error {
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: fields, EndHeaders: true, EndStream: end})
}

func fields(pairs ...string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(pairs); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) // a buffer does not fail
	}
	return block.Bytes()
}

// good writes the documented answer.
func (f framed) good() error {
	return errors.Join(f.headers("200", false, "content-type", "application/json"), f.WriteData(f.stream, true, []byte(documented)))
}

func newHTTP2Client(t *testing.T, url string) *Client {
	t.Helper()
	client := newTestClient(t, url)
	client.pool.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test's own server
	t.Cleanup(client.CloseIdle)                                         // before the server waits for its connections
	return client
}

// A reset does not prove that nothing was deleted: the API could answer a second request
// with 404 after deleting for the first.
func TestARequestIsNotRepeatedAfterAReset(t *testing.T) {
	for _, code := range []http2.ErrCode{http2.ErrCodeProtocol, http2.ErrCodeNo, http2.ErrCodeInternal, http2.ErrCodeCancel, http2.ErrCodeEnhanceYourCalm} {
		for _, body := range []string{"", `{"ids":[1]}`} {
			var requests atomic.Int32
			client := newHTTP2Client(t, serveFrames(t, &requests, func(f framed) error {
				if f.nth == 1 {
					return f.WriteRSTStream(f.stream, code)
				}
				return f.headers("404", true)
			}))
			got := client.Call(t.Context(), http.MethodDelete, "/thing", nil, []byte(body), func(Response) Answer { return Answer{Verdict: NotFound} })
			if got.Verdict != Retry || !got.MayHaveDeleted || requests.Load() != 1 {
				t.Errorf("%s with body %q: %s, may have deleted %v, %d requests", code, body, got.Verdict, got.MayHaveDeleted, requests.Load())
			}
		}
	}
}

// Whatever a server does to a stream or its connection during a call, the call is one
// request, and its answer is not a deletion.
func TestAHostileHTTP2AnswerIsARetry(t *testing.T) {
	errClose := errors.New("close the connection")
	half := func(f framed, then error) error {
		return errors.Join(f.headers("200", false, "content-type", "application/json"), f.WriteData(f.stream, false, []byte(documented)), then)
	}
	repeat := func(times int, do func() error) error {
		for range times {
			if err := do(); err != nil {
				return err
			}
		}
		return errClose
	}
	// Made here, so that their memory does not count for a call.
	large, interim := fields(":status", "103", "x", strings.Repeat("x", 15<<10)), fields(":status", "103", "link", "</x>")
	for name, answer := range map[string]func(framed) error{
		"a goodbye before the answer": func(f framed) error { _ = f.WriteGoAway(f.stream, http2.ErrCodeNo, nil); return errClose },
		"a goodbye with an error":     func(f framed) error { _ = f.WriteGoAway(f.stream, http2.ErrCodeEnhanceYourCalm, nil); return errClose },
		"a goodbye within the answer": func(f framed) error {
			return half(f, errors.Join(f.WriteGoAway(f.stream, http2.ErrCodeNo, nil), errClose))
		},
		"no end of the answer":      func(f framed) error { return half(f, errClose) },
		"an answer that stops":      func(f framed) error { return half(f, nil) },
		"a reset within the answer": func(f framed) error { return half(f, f.WriteRSTStream(f.stream, http2.ErrCodeInternal)) },
		"a reset without an error":  func(f framed) error { return half(f, f.WriteRSTStream(f.stream, http2.ErrCodeNo)) },
		"a shorter body than it says": func(f framed) error {
			return errors.Join(f.headers("200", false, "content-type", "application/json", "content-length", "17"), f.WriteData(f.stream, true, []byte(documented)))
		},
		"a body without an end": func(f framed) error {
			_ = f.headers("200", false, "content-type", "application/json")
			for range 4 { // as much as the client's initial window holds
				_ = f.WriteData(f.stream, false, bytes.Repeat([]byte(" "), 16<<10))
			}
			return f.WriteData(f.stream, false, []byte(documented))
		},
		"a header as large as a frame can be": func(f framed) error {
			return repeat(200, func() error { return f.block(large, false) })
		},
		"interim answers without an end": func(f framed) error {
			return repeat(20_000, func() error { return f.block(interim, false) })
		},
		"headers without an end": func(f framed) error {
			err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: fields(":status", "200")})
			more := bytes.Repeat(fields("x-more", "x"), 1000)
			return errors.Join(err, repeat(20_000, func() error { return f.WriteContinuation(f.stream, false, more) }))
		},
		"an empty header without an end": func(f framed) error {
			err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: fields(":status", "200")})
			return errors.Join(err, repeat(20_000, func() error { return f.WriteContinuation(f.stream, false, nil) }))
		},
		"a header bomb": func(f framed) error { // one field, and 14,000 references to it
			bomb := append(fields(":status", "200", "x", strings.Repeat("x", 3000)), bytes.Repeat([]byte{0x80 | 62}, 14<<10-3000)...)
			return f.block(bomb, false)
		},
		"trailers without an end": func(f framed) error {
			return half(f, repeat(20_000, func() error { return f.WriteContinuation(f.stream, false, nil) }))
		},
		"a frame of an unknown stream": func(f framed) error { return f.WriteData(f.stream+100, true, []byte(documented)) },
		"pings without an end":         func(f framed) error { return repeat(20_000, func() error { return f.WritePing(false, [8]byte{}) }) },
		"settings without an end": func(f framed) error {
			return repeat(20_000, func() error { return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}) })
		},
		"a status in letters": func(f framed) error {
			return errors.Join(f.headers("two hundred", false), f.WriteData(f.stream, true, []byte(documented)))
		},
		"two statuses": func(f framed) error {
			return errors.Join(f.headers("200", false, ":status", "500", "content-type", "application/json"), f.WriteData(f.stream, true, []byte(documented)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			client := newHTTP2Client(t, serveFrames(t, &requests, func(f framed) error {
				if f.nth == 1 || f.nth > 2 {
					return f.good()
				}
				return answer(f)
			}))
			hasty, patient := impatient(client)
			ask := func(client *Client) Answer {
				return client.Call(t.Context(), http.MethodDelete, "/thing", nil, []byte(`{"ids":[1]}`), strictly)
			}
			if got := ask(patient); got.Verdict != Deleted {
				t.Fatalf("before: %+v", got)
			}
			var got Answer
			cost := allocated(func() { got = ask(hasty) })
			if got.Verdict != Retry || !got.MayHaveDeleted || got.Message == "" || len(got.Message) > MaxMessage || requests.Load() != 2 {
				t.Errorf("%+v after %d requests for 2 calls", got, requests.Load())
			}
			// Measured: at most 3 MB, most of it the server's own.
			if t.Logf("%d bytes of memory: %s", cost, got.Message); cost > 128*MaxBody {
				t.Errorf("cost %d bytes of memory", cost)
			}
			for end := time.Now().Add(time.Minute); ask(hasty).Verdict != Deleted; { // until the server has closed the connection
				if time.Now().After(end) {
					t.Fatal("later calls get no answer")
				}
			}
		})
	}
}

// All calls to an API share an HTTP/2 connection. If a device on the way drops it silently,
// every call would wait for its time-out.
func TestADeadHTTP2ConnectionIsReplaced(t *testing.T) {
	var requests atomic.Int32
	var hole atomic.Bool
	client := newHTTP2Client(t, "https://"+blackHole(t, serveFrames(t, &requests, framed.good), &hole))
	pings := client.pool.HTTP2
	if pings == nil || pings.SendPingTimeout == 0 || pings.PingTimeout == 0 {
		t.Fatal("no ping checks whether the connection is alive")
	}
	pings.SendPingTimeout, pings.PingTimeout = 200*time.Millisecond, 200*time.Millisecond
	_, patient := impatient(client)
	ask := func() Answer { return patient.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, strictly) }
	if got := ask(); got.Verdict != Deleted {
		t.Fatalf("before: %+v", got)
	}
	hole.Store(true)
	began := time.Now()
	if got := ask(); got.Verdict != Retry || !got.MayHaveDeleted || time.Since(began) >= patient.Timeout {
		t.Errorf("on the dead connection, after %s: %+v", time.Since(began), got)
	}
	if got := ask(); got.Verdict != Deleted {
		t.Errorf("after: %+v", got)
	}
}

// blackHole forwards to a server. Once open is true, it drops what the client sends on the
// first connection.
func blackHole(t *testing.T, to string, open *atomic.Bool) string {
	t.Helper()
	listener := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		for first := true; ; first = false {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(to, "https://"))
			if err != nil {
				t.Error(err)
				return
			}
			serving.Go(func() {
				defer func() { _ = server.Close() }()
				buffer := make([]byte, 32<<10)
				for {
					n, err := client.Read(buffer)
					if err != nil {
						return
					}
					if first && open.Load() {
						continue
					}
					_, _ = server.Write(buffer[:n])
				}
			})
			serving.Go(func() {
				defer func() { _ = client.Close() }()
				_, _ = io.Copy(client, server)
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	return listener.Addr().String()
}
