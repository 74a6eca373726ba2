package deleter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
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

// Response is a whole HTTP answer, or the reason why there is none.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	// JSON is true if the media type says so (RFC 6839's +json included).
	JSON bool
	// Written is true if any of the request may have reached the server.
	Written bool
	// Err is what went wrong: no answer, or one that could not be read whole.
	Err error
}

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

// readGeneral reads the answers that mean the same whichever API gives them.
// general is false for those that the API's own documents explain.
func readGeneral(r Response) (a Answer, general bool) {
	switch {
	case r.Status == 0:
		return Answer{Verdict: Retry, Message: r.Err.Error(), MayHaveDeleted: r.Written}, true
	case r.Status == http.StatusUnauthorized, r.Status == http.StatusForbidden:
		return Answer{Verdict: Hold, Message: explain(r)}, true
	case r.Status == http.StatusRequestTimeout, r.Status == http.StatusTooEarly, r.Status == http.StatusTooManyRequests:
		return Answer{Verdict: Retry, Message: explain(r)}, true
	case r.Status >= 500:
		return Answer{Verdict: Retry, Message: explain(r), MayHaveDeleted: true}, true
	case r.Status >= 300 && r.Status < 400:
		return Answer{Verdict: Retry, Message: fmt.Sprintf("redirected with %d, which is not followed", r.Status)}, true
	case r.Err != nil:
		return Undocumented(r, r.Err.Error()), true
	default:
		return Answer{}, false
	}
}

// Undocumented is the answer to a call that got a response which the API's
// documents do not know, though its status is one of theirs: perhaps a proxy's.
// A 2xx may well come from a deletion that was done.
func Undocumented(r Response, why string) Answer {
	return Answer{Verdict: Retry, Message: why, MayHaveDeleted: r.Status >= 200 && r.Status < 300}
}

// Unknown is the answer to a call that got a status which no document knows.
func Unknown(r Response) Answer {
	return Answer{Verdict: Unexpected, Message: explain(r), MayHaveDeleted: r.Status >= 200 && r.Status < 300}
}

// explain says what came: the status, and the API's words where it has some.
func explain(r Response) string {
	said := fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status))
	var body struct {
		Error   string         `json:"error"`
		Message string         `json:"message"`
		Detail  jsontext.Value `json:"detail"`
	}
	if r.Err != nil || ReadJSON(r, &body) != nil {
		return strings.TrimSpace(said)
	}
	if words := cmp.Or(body.Error, body.Message, string(body.Detail)); words != "" {
		said += ": " + words
	}
	return said
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
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
