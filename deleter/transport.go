package deleter

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	maxHeader   = 64 << 10
	dialTimeout = 10 * time.Second
	tlsTimeout  = 10 * time.Second
	// Servers close idle connections after 5 to 60 s, and a call that meets the end of
	// one may be unanswered.
	idleLifetime = 4 * time.Second
	pingAfter    = 15 * time.Second
	pingTimeout  = 15 * time.Second
)

// redactingTransport is a transport whose errors do not contain the credential. net/http
// quotes what it cannot read, such as a broken header. A credential that a server
// echoes there would get into the span.
type redactingTransport struct {
	next       *http.Transport
	credential *Credential
}

// newTransport returns the transport of all calls to one API, and how to close
// its idle connections. It follows no redirect: Go's client would follow a
// redirected DELETE, as GET where the status says so, and take the credential's
// header along to the other host.
func newTransport(c ClientConfig) (http.RoundTripper, *http.Transport) {
	transport := &http.Transport{
		Proxy:                  proxy,
		DialContext:            fenced((&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext),
		TLSHandshakeTimeout:    tlsTimeout,
		IdleConnTimeout:        idleLifetime,
		MaxIdleConns:           c.Concurrency,
		MaxIdleConnsPerHost:    c.Concurrency,
		MaxResponseHeaderBytes: maxHeader,
		// A compressed answer could be a thousand times its size.
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		// All calls share a connection of HTTP/2, and would wait on it for an hour
		// if a device on the way had forgotten it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	return newMetricsTransport(redactingTransport{transport, c.Credential}), transport
}

// proxy hides an address that is not valid: it may contain a password.
func proxy(r *http.Request) (u *url.URL, err error) {
	if u, err = http.ProxyFromEnvironment(r); err != nil {
		return nil, errors.New("HTTP_PROXY or HTTPS_PROXY is not a valid proxy URL; correct it")
	}
	return u, nil
}

func (t redactingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(r)
	switch {
	case err != nil && isRefusal(err):
		return nil, errRefused
	case err != nil:
		return nil, t.redact(err)
	}
	response.Body = redactedBody{response.Body, t}
	return response, nil
}

// redact keeps an error as it is, with its type, unless its text has to change.
func (t redactingTransport) redact(err error) error {
	original := err.Error()
	if text := t.credential.line(original); text != original {
		return errors.New(text)
	}
	return err
}

// redactedBody is a body that is read, never written to: a server cannot turn
// the connection into another protocol's.
type redactedBody struct {
	io.ReadCloser
	transport redactingTransport
}

func (b redactedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // readers give io.EOF as it is
		err = b.transport.redact(err)
	}
	return n, err
}
