package deleter

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
)

const (
	// MaxBody is the longest body of an answer that is read, in bytes. Documented
	// answers have less than a hundredth of it.
	MaxBody = 64 << 10
	// MaxMessage is the longest message of an API that is kept, in bytes.
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

// Client makes calls to one API. Each phase of a call has a timeout, and each part
// of an answer a limit; redirects are not followed; a request is written at most
// once.
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
		base.Path = "/" // JoinPath would return a relative path
		c.BaseURL = &base
	}
	return &Client{c, transport, pool}
}

// CloseIdle closes the connections that no call uses.
func (c *Client) CloseIdle() { c.pool.CloseIdleConnections() }

// Call makes one call to path, below the base URL, with headers whose names are
// spelled as [http.CanonicalHeaderKey] does. It reads the answer with read, which
// gets only complete answers about the request: Call itself reads what means the
// same for all APIs (no answer, a refused credential, "later"). The texts that it
// returns never contain the credential.
func (c *Client) Call(ctx context.Context, method, path string, header http.Header, body []byte, read func(Response) Answer) Answer {
	secret, version, err := c.Credential.revealVersion()
	if err != nil {
		return c.finish(Answer{Verdict: CredentialRefused, Message: err.Error()})
	}
	response := c.do(ctx, method, path, secret, header, body)
	answer, general := readGeneral(response)
	if !general {
		answer = read(response)
	}
	if answer.Verdict == Invalid && answer.Message == "" {
		answer.Message = explain(response) // the request's sender needs a reason
	}
	answer.Status, answer.Credential = response.Status, version
	answer.RetryAfter = ParseRetryAfter(response.Header.Values("Retry-After"), time.Now())
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
