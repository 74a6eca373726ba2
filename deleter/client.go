package deleter

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	// MaxBody is the most of an answer's body that is read, in bytes. No
	// documented answer has a hundredth of it.
	MaxBody = 64 << 10
	// MaxMessage is the most of an API's words that is kept, in bytes.
	MaxMessage = 512
)

// ClientConfig is what a [Client] needs.
type ClientConfig struct {
	// BaseURL is where the API is, as [CheckBaseURL] gives it.
	BaseURL *url.URL
	// Credential goes into each call's CredentialHeader.
	Credential       *Credential
	CredentialHeader string
	// Timeout bounds a call from its first to its last byte.
	Timeout time.Duration
	// Concurrency is how many connections are kept for the next calls.
	Concurrency int
	// Version is what the User-Agent says after "lethe/"; it may be empty.
	Version string
}

// Client makes calls to one API, with the manners that all calls share: every
// phase has a time-out and every part of an answer a limit; redirects are
// answers; a request is written at most once.
type Client struct {
	ClientConfig
	transport http.RoundTripper
	pool      *http.Transport
}

// NewClient returns a client that keeps its connections until CloseIdle.
func NewClient(c ClientConfig) *Client {
	transport, pool := newTransport(c)
	c.CredentialHeader = http.CanonicalHeaderKey(c.CredentialHeader)
	if base := *c.BaseURL; base.Path == "" {
		base.Path = "/" // what is joined to no path is relative
		c.BaseURL = &base
	}
	return &Client{c, transport, pool}
}

// CloseIdle closes the connections that no call uses.
func (c *Client) CloseIdle() { c.pool.CloseIdleConnections() }

// Call makes one call to path, below the base URL, with headers whose names are
// spelled as [http.CanonicalHeaderKey] does. It reads the answer with read, which
// sees only whole answers that are about the request: troubles that all APIs share
// (no answer, a refused credential, "later") have theirs already. The credential is
// in none of the texts that it returns.
func (c *Client) Call(ctx context.Context, method, path string, header http.Header, body []byte, read func(Response) Answer) Answer {
	secret, version, err := c.Credential.revealVersion()
	if err != nil {
		return c.finish(Answer{Verdict: Hold, Message: err.Error()})
	}
	response := c.do(ctx, method, path, secret, header, body)
	answer, general := readGeneral(response)
	if !general {
		answer = read(response)
	}
	if answer.Verdict == Invalid && answer.Message == "" {
		answer.Message = explain(response) // whoever asked has to be told something
	}
	answer.Status, answer.Credential = response.Status, version
	answer.RetryAfter = ParseRetryAfter(response.Header.Get("Retry-After"), time.Now())
	answer.Quota = ParseQuota(response.Header, time.Now())
	return c.finish(answer)
}

// finish stamps the answer and takes the credential out of its texts.
func (c *Client) finish(a Answer) Answer {
	a.CallID = uuid.Must(uuid.NewV7()).String() // fails only without randomness, which Go no longer returns
	a.ObservedAt = time.Now().UTC()
	a.Message = c.Credential.line(a.Message)
	a.APIRequestID = c.Credential.line(a.APIRequestID)
	return a
}

var errSentOnce = errors.New("the stream was reset")

func (c *Client) do(ctx context.Context, method, path, secret string, header http.Header, body []byte) (r Response) {
	ctx, stop := context.WithTimeout(ctx, c.Timeout)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	last := newLastMoment(ctx, cancel)
	var written, multiplexed atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// A transport looks for another connection only if nothing was written to
		// the one before, or its server said that it did nothing (RFC 9113, 8.7).
		GetConn: func(string) { written.Store(false) },
		// After it another goroutine may write, even after the call was broken off.
		GotConn: func(got httptrace.GotConnInfo) {
			secure, ok := got.Conn.(*tls.Conn)
			multiplexed.Store(ok && secure.ConnectionState().NegotiatedProtocol == "h2")
			if !multiplexed.Load() {
				inStep(ctx, got.Conn)
			}
			written.Store(true)
			last.guard(got.Conn, multiplexed.Load())
		},
	})
	defer func() { r.Written = written.Load() && !last.missed.Load() }()

	request, err := http.NewRequestWithContext(ctx, method, "", bytes.NewReader(body))
	if err != nil {
		return Response{Err: err}
	}
	request.URL = c.BaseURL.JoinPath(path)
	// Go sends a request again by itself if it can have its body again. On
	// HTTP/1 it does so only where nothing was written; on HTTP/2 also after a
	// reset that may have come behind the deletion, and without asking where
	// there is no body at all.
	request.Body = io.NopCloser(bytes.NewReader(body))
	if len(body) == 0 {
		// Or HTTP/1 would start a goroutine and a timer to find out that nothing comes.
		request.TransferEncoding = []string{"identity"}
	}
	request.GetBody = func() (io.ReadCloser, error) {
		if multiplexed.Load() {
			return nil, errSentOnce
		}
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	maps.Copy(request.Header, header)
	request.Header.Set(c.CredentialHeader, secret)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", strings.TrimSuffix("lethe/"+c.Version, "/"))

	response, err := c.transport.RoundTrip(request)
	switch {
	case last.missed.Load():
		return Response{Err: errTooLate}
	case err != nil:
		return Response{Err: plain(err)}
	}
	defer func() { _ = response.Body.Close() }()
	r = Response{Status: response.StatusCode, Header: response.Header, JSON: isJSON(response.Header.Get("Content-Type"))}
	if r.Status < 200 {
		return r // 101 hands over the connection, on which no time-out holds any more
	}
	r.Body, err = io.ReadAll(io.LimitReader(response.Body, MaxBody+1))
	switch {
	case err != nil:
		r.Err = fmt.Errorf("the answer broke off: %w", plain(err))
	case len(r.Body) > MaxBody:
		r.Err = fmt.Errorf("the answer is over %d bytes", MaxBody)
	}
	return r
}
