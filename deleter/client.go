package deleter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
)

const (
	// MaxBody is the most of an answer's body that is read, in bytes. No
	// documented answer has a hundredth of it.
	MaxBody = 64 << 10
	// MaxMessage is the most of an API's words that is kept, in bytes.
	MaxMessage = 512

	maxHeader    = 64 << 10
	dialTimeout  = 10 * time.Second
	tlsTimeout   = 10 * time.Second
	idleLifetime = 90 * time.Second
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
}

// Client makes calls to one API, with the manners that all calls share: every
// phase has a time-out and every part of an answer a limit; redirects are
// answers; a request is written at most once.
type Client struct {
	ClientConfig
	http *http.Client
}

// NewClient returns a client that keeps its connections until CloseIdle.
func NewClient(c ClientConfig) *Client {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  c.Timeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        idleLifetime,
		MaxIdleConns:           c.Concurrency,
		MaxIdleConnsPerHost:    c.Concurrency,
		MaxResponseHeaderBytes: maxHeader,
		// A compressed answer could be a thousand times its size.
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
	}
	traced := otelhttp.NewTransport(transport,
		// The APIs belong to others: the ids of our traces are none of their business.
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator()))
	return &Client{c, &http.Client{
		Transport: traced,
		// Go would follow a redirected DELETE, as GET where the status says so, and
		// take the credential's header along to the other host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// CloseIdle closes the connections that no call uses.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// Call makes one call to path, below the base URL, and reads its answer with
// read, which sees only whole answers that are about the request: troubles that
// all APIs share (no answer, a refused credential, "later") have theirs already.
// The credential is in none of the texts that it returns.
func (c *Client) Call(ctx context.Context, method, path string, header http.Header, body []byte, read func(Response) Answer) Answer {
	secret, err := c.Credential.Reveal()
	if err != nil {
		return c.finish(Answer{Verdict: Hold, Message: err.Error()})
	}
	response := c.do(ctx, method, path, secret, header, body)
	answer, general := readGeneral(response)
	if !general {
		answer = read(response)
	}
	answer.Status = response.Status
	answer.RetryAfter = ParseRetryAfter(response.Header.Get("Retry-After"), time.Now())
	return c.finish(answer)
}

// finish stamps the answer and takes the credential out of its texts.
func (c *Client) finish(a Answer) Answer {
	a.CallID = uuid.Must(uuid.NewV7()).String() // fails only without randomness, which Go no longer returns
	a.ObservedAt = time.Now().UTC()
	a.Message = oneLine(c.Credential.Redact(a.Message))
	a.APIRequestID = oneLine(c.Credential.Redact(a.APIRequestID))
	return a
}

func (c *Client) do(ctx context.Context, method, path, secret string, header http.Header, body []byte) (r Response) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// From the first header on, bytes may be on their way.
		WroteHeaderField: func(string, []string) { written.Store(true) },
		WroteHeaders:     func() { written.Store(true) },
	})
	defer func() { r.Written = written.Load() }()

	request, err := http.NewRequestWithContext(ctx, method, c.BaseURL.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return Response{Err: err}
	}
	request.GetBody = nil // nothing can be sent again behind our back
	if len(body) == 0 {
		request.Body = http.NoBody
	}
	for name, values := range header {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	request.Header.Set(c.CredentialHeader, secret)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "lethe")

	response, err := c.http.Do(request)
	if err != nil {
		return Response{Err: plain(err)}
	}
	defer func() { _ = response.Body.Close() }()
	r = Response{Status: response.StatusCode, Header: response.Header, JSON: isJSON(response.Header.Get("Content-Type"))}
	r.Body, err = io.ReadAll(io.LimitReader(response.Body, MaxBody+1))
	switch {
	case err != nil:
		r.Err = fmt.Errorf("the answer broke off: %w", plain(err))
	case len(r.Body) > MaxBody:
		r.Err = fmt.Errorf("the answer is over %d bytes", MaxBody)
	}
	return r
}

// plain takes the method and the URL off net/http's errors: the span has them,
// and a message is read by people.
func plain(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no whole answer in time")
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("the call was broken off")
	}
	return err
}

// oneLine makes text printable, one line, and at most MaxMessage bytes long.
func oneLine(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= MaxMessage {
		return text
	}
	cut := MaxMessage - len("…")
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
