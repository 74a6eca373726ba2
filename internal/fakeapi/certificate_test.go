package fakeapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

func TestRecycleClosesTheConnectionAfterACorrectAnswer(t *testing.T) {
	certificate, text, err := fakeapi.NewCertificate("sandbox.test")
	want(t, "error", err, nil)
	for _, tt := range []struct {
		name     string
		protocol int
		config   *tls.Config
	}{
		{"HTTP/1.1", 1, nil},
		{"TLS and HTTP/2", 2, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fakeapi.New(fakeapi.Config{})
			server := httptest.NewUnstartedServer(s)
			server.EnableHTTP2 = tt.protocol == 2
			roots := x509.NewCertPool()
			want(t, "PEM", roots.AppendCertsFromPEM(text), true)
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
			if server.TLS = tt.config; tt.config != nil {
				server.StartTLS()
			} else {
				server.Start()
			}
			t.Cleanup(func() {
				_ = s.Close()
				transport.CloseIdleConnections()
				server.Close()
			})
			call := func(id int64) (reused bool) {
				t.Helper()
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }})
				r, err := http.NewRequestWithContext(ctx, http.MethodDelete, fmt.Sprint(server.URL, sensayBase, id), nil)
				want(t, "error", err, nil)
				r.Header.Set("X-ORGANIZATION-SECRET", orgSecret)
				resp, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.Copy(io.Discard, resp.Body)
				want(t, "error of the body", err, nil)
				_ = resp.Body.Close()
				want(t, "protocol", resp.ProtoMajor, tt.protocol)
				want(t, "status", resp.StatusCode, 200)
				return reused
			}
			script(t, s, sensayEntry(3), fakeapi.Step{Fault: fakeapi.Recycle})
			want(t, "the connection is reused", []bool{call(1), call(2), call(3)}, []bool{false, true, true})
			// A call may arrive before the server has sent its GOAWAY.
			id := int64(4)
			for ; call(id); id++ {
				if id == 1000 {
					t.Fatal("the connection is not closed")
				}
			}
			want(t, "calls in the log", int64(len(s.Calls())), id)
		})
	}
}
