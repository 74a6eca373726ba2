package deleter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// traced records every span of the test, with W3C propagation switched on.
func traced(t *testing.T) *tracetest.InMemoryExporter {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider, propagator := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	otel.SetTracerProvider(sdk.NewTracerProvider(sdk.WithSyncer(spans)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	t.Cleanup(func() {
		otel.SetTracerProvider(provider)
		otel.SetTextMapPropagator(propagator)
	})
	return spans
}

func TestACallHasOneSpanAndSendsNoTraceContext(t *testing.T) {
	spans := traced(t)
	var header http.Header
	client := newTestClient(t, serve(t, func(_ http.ResponseWriter, r *http.Request) { header = r.Header.Clone() }))
	client.Version = "1.2.3"
	call(t, client)
	if n := len(spans.GetSpans()); n != 1 {
		t.Errorf("%d spans", n)
	}
	if header.Get("traceparent") != "" || header.Get("Idempotency-Key") != "" || header.Get("User-Agent") != "lethe/1.2.3" {
		t.Errorf("sent %v", header)
	}
}

// An API, or a proxy before it, may echo the credential anywhere.
func TestTheCredentialIsInNoAnswerAndNoSpan(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	body := func(status int, text string) string {
		return fmt.Sprintf("HTTP/1.1 %d Some\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(text), text)
	}
	spans := traced(t)
	for name, answer := range map[string]string{
		"in the body of a 200":   body(200, fmt.Sprintf(`{"message":%q}`, testSecret)),
		"in the body of a 401":   body(401, fmt.Sprintf(`{"error":%q}`, testSecret)),
		"in the body of a 500":   body(500, fmt.Sprintf(`{"message":%q}`, url.QueryEscape(testSecret))),
		"in a validation error":  body(429, fmt.Sprintf(`{"detail":[{"loc":["header",%q],"msg":%q}]}`, testSecret, testSecret)),
		"in the status":          "HTTP/1.1 " + testSecret + "\r\n\r\n",
		"in a broken header":     ok + testSecret + "\r\n\r\n",
		"in a broken trailer":    ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + testSecret + "\r\n\r\n",
		"in a redirect":          "HTTP/1.1 307 Go\r\nContent-Length: 0\r\nLocation: http://%zz/" + testSecret + "\r\n\r\n",
		"in another header":      body(503, "")[:20] + "\r\nRetry-After: " + testSecret + "\r\nContent-Length: 0\r\n\r\n",
		"instead of an answer":   testSecret + "\r\n\r\n",
		"in the media type":      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: " + testSecret + "\r\n\r\n{}",
		"in the transfer coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + testSecret + "\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			spans.Reset()
			client := newTestClient(t, raw(t, func(c net.Conn) { _, _ = io.WriteString(c, answer) }))
			got := client.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, func(r Response) Answer {
				return Answer{Verdict: Retry, Message: string(r.Body), APIRequestID: string(r.Body)}
			})
			all := fmt.Sprintf("%+v", got)
			for _, span := range spans.GetSpans() {
				all += fmt.Sprintf("%s %+v %+v %+v", span.Name, span.Status, span.Events, span.Attributes)
			}
			if strings.Contains(all, "s3cret") || strings.Contains(all, "parts") {
				t.Errorf("shown in %s", all)
			}
			if len(spans.GetSpans()) != 1 {
				t.Errorf("%d spans", len(spans.GetSpans()))
			}
		})
	}
}

// Another goroutine writes the request, perhaps after the call was canceled. The answer
// must be right in any order of the two.
func TestACanceledCallArrivesOnlyIfItReportsSo(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			client, server := secure(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
			if !http2 {
				speakHTTP1(client)
			}
			mayHave := int32(0)
			for range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { go cancel() }})
				got := client.Call(ctx, http.MethodDelete, "/thing", nil, nil, func(Response) Answer { return Answer{Verdict: Deleted} })
				if got.Verdict == Deleted || got.MayHaveDeleted {
					mayHave++
				}
				cancel()
			}
			client.CloseIdle()
			server.Close() // waits for what arrived
			if requests.Load() > mayHave {
				t.Errorf("%d requests arrived, but only %d answers say that the request may have arrived", requests.Load(), mayHave)
			}
		})
	}
}

// speakHTTP1 keeps a client of an HTTPS server from HTTP/2.
func speakHTTP1(c *Client) {
	c.pool.ForceAttemptHTTP2 = false
	c.pool.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
}

func TestACallCanceledBeforeItsConnectionDidNotDelete(t *testing.T) {
	client := newTestClient(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("arrived") }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := client.Call(ctx, http.MethodDelete, "/thing", nil, nil, Unknown); got.Verdict != Retry || got.MayHaveDeleted {
		t.Errorf("%+v", got)
	}
}

// The server is down, so the idle connection is dead and no other can be opened.
func TestACallOnADeadIdleConnectionDidNotDelete(t *testing.T) {
	var dials atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	client := newTestClient(t, server.URL)
	client.pool.DialContext = fenced(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if dials.Add(1) == 1 && err == nil {
			conn = &deaf{Conn: conn}
		}
		return conn, err
	})
	if got := client.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, Unknown); got.Status != 200 {
		t.Fatalf("%+v", got)
	}
	server.Close()
	got := client.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, Unknown)
	if got.Verdict != Retry || got.MayHaveDeleted || dials.Load() != 2 {
		t.Errorf("after %d dials: %+v", dials.Load(), got)
	}
}

// deaf is a connection that does not notice that the server has closed it, until the second
// write, which fails.
type deaf struct {
	net.Conn
	writes atomic.Int32
	once   sync.Once
	gone   chan struct{}
}

func (d *deaf) init() { d.once.Do(func() { d.gone = make(chan struct{}) }) }

func (d *deaf) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	if err != nil {
		d.init()
		<-d.gone
	}
	return n, err
}

func (d *deaf) Write(p []byte) (int, error) {
	if d.writes.Add(1) > 1 {
		return 0, net.ErrClosed
	}
	return d.Conn.Write(p)
}

func (d *deaf) Close() error {
	d.init()
	select {
	case <-d.gone:
	default:
		close(d.gone)
	}
	return d.Conn.Close()
}

// secure returns an HTTPS server, and a client that trusts it under the name example.com.
func secure(t *testing.T, handler http.HandlerFunc) (*Client, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client := newTestClient(t, server.URL)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client.pool.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "example.com"}
	return client, server
}

func TestACertificateForAnotherNameIsRefused(t *testing.T) {
	var requests atomic.Int32
	client, _ := secure(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	client.pool.TLSClientConfig.ServerName = "api.k-v.example"
	got := call(t, client)
	if got.Verdict != Retry || got.MayHaveDeleted || requests.Load() != 0 || !strings.Contains(got.Message, "certificate") {
		t.Errorf("%+v after %d requests", got, requests.Load())
	}
}

func TestHTTP2IsUsedAndACutStreamIsNotRepeated(t *testing.T) {
	var requests atomic.Int32
	client, _ := secure(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("spoke %s", r.Proto)
		}
		if requests.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
	})
	if got := call(t, client); got.Status != 200 {
		t.Errorf("%+v", got)
	}
	if got := call(t, client); got.Verdict != Retry || !got.MayHaveDeleted {
		t.Errorf("%+v", got)
	}
	if requests.Load() != 2 {
		t.Errorf("%d requests for 2 calls", requests.Load())
	}
}

func TestASlowCallDoesNotDelayOthers(t *testing.T) {
	stuck := make(chan struct{})
	client := newTestClient(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			_, _ = io.Copy(io.Discard, r.Body)
			close(stuck)
			<-r.Context().Done()
		}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan Answer)
	go func() { done <- client.Call(ctx, http.MethodDelete, "/stuck", nil, nil, Unknown) }()
	<-stuck
	for range 8 {
		if got := call(t, client); got.Status != 200 {
			t.Errorf("%+v", got)
		}
	}
	cancel()
	if got := <-done; got.Verdict != Retry || !got.MayHaveDeleted {
		t.Errorf("%+v", got)
	}
}

func TestASlowBodyEndsAtTheTimeout(t *testing.T) {
	client := newTestClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
			if _, err := io.WriteString(w, " "); err != nil || r.Context().Err() != nil {
				tick.Stop()
				return
			}
			w.(http.Flusher).Flush()
		}
	}))
	client.Timeout = 300 * time.Millisecond
	if got := call(t, client); got.Verdict != Retry || !got.MayHaveDeleted || !strings.Contains(got.Message, "within the timeout") {
		t.Errorf("%+v", got)
	}
}

func TestABasePathIsKept(t *testing.T) {
	var path string
	base := serve(t, func(_ http.ResponseWriter, r *http.Request) { path = r.URL.Path })
	for _, prefix := range []string{"/gateway/kv", "/gateway/kv/"} {
		call(t, newTestClient(t, base+prefix))
		if path != "/gateway/kv/thing" {
			t.Errorf("%s: called %s", prefix, path)
		}
	}
}

func TestEachCallIsMeasured(t *testing.T) {
	reader := metric.NewManualReader()
	provider := otel.GetMeterProvider()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	t.Cleanup(func() { otel.SetMeterProvider(provider) })
	statuses := []int{200, 503, 200}
	c := newTestClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(statuses[0])
		statuses = statuses[1:]
	}))
	for range 3 {
		call(t, c)
	}
	unused := *c.BaseURL
	unused.Host = "127.0.0.1:1"
	c.BaseURL = &unused
	call(t, c)
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "http.client.request.duration" {
				continue
			}
			for _, point := range m.Data.(metricdata.Histogram[float64]).DataPoints {
				status, _ := point.Attributes.Value("http.response.status_code")
				kind, _ := point.Attributes.Value("error.type")
				got[fmt.Sprint(status.AsInt64(), " ", kind.AsString())] += point.Count
			}
		}
	}
	want := map[string]uint64{"200 ": 2, "503 503": 1, "0 _OTHER": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls by status and error (-want +got):\n%s", diff)
	}
}
