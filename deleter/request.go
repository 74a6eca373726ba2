package deleter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"strings"
	"time"
)

// maxRepeats is how often a request that did not begin is sent again at once.
const maxRepeats = 3

// do makes a call: one request on the wire, and another only after one that
// provably did not happen, because nothing of it was written or the server refused
// its stream.
func (c *Client) do(ctx context.Context, method, path, secret string, header http.Header, body []byte) Response {
	if ends, ok := ctx.Deadline(); !ok || time.Until(ends) > c.Timeout {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.Timeout)
		defer stop()
	}
	for repeats := 0; ; repeats++ {
		if repeats > 0 {
			ctx = context.WithValue(ctx, resendCount{}, repeats)
		}
		r, again := c.try(ctx, method, path, secret, header, body)
		if !again || repeats == maxRepeats || ctx.Err() != nil {
			return r
		}
	}
}

// try makes one try of a call. again reports that the request did not happen, although
// there was a connection.
func (c *Client) try(ctx context.Context, method, path, secret string, header http.Header, body []byte) (r Response, again bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fence := newFence(ctx, cancel)
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, fence.trace()), method, "", bytes.NewReader(body))
	if err != nil {
		return Response{Err: err}, false
	}
	request.URL = c.BaseURL.JoinPath(path)
	// net/http sends a request again by itself if it has no body, or if it can have
	// the body again. On HTTP/2 it does so after a PROTOCOL_ERROR of the server, too,
	// which may come after the deletion. So there is always a body, and once only.
	request.Body, request.GetBody = io.NopCloser(bytes.NewReader(body)), nil
	if len(body) == 0 {
		// Or HTTP/1 would start a goroutine and a timer to find out that nothing comes.
		request.TransferEncoding = []string{"identity"}
	}
	maps.Copy(request.Header, header)
	request.Header.Set(c.CredentialHeader, secret)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", strings.TrimSuffix("lethe/"+c.Version, "/"))

	response, err := c.transport.RoundTrip(request)
	connected, begun, shut := fence.end()
	if err == nil {
		defer func() { _ = response.Body.Close() }()
	}
	switch {
	case errors.Is(shut, errTooLate), errors.Is(shut, errUnfenced):
		return Response{Err: shut}, false
	case !begun && err == nil, errors.Is(shut, errEarly):
		return Response{Err: errEarly}, true
	case !begun:
		return Response{Err: unanswered(err)}, connected
	case errors.Is(err, errRefused):
		return Response{Err: errRefused}, true
	case err != nil:
		return Response{Err: unanswered(err), Written: true}, false
	}
	return readResponse(response), false
}

// readResponse reads an answer whole, within limits.
func readResponse(response *http.Response) Response {
	r := Response{Status: response.StatusCode, Header: response.Header, JSON: isJSON(response.Header.Get("Content-Type")), Written: true}
	if r.Status < 100 { // net/http lets these pass
		return Response{Err: fmt.Errorf("the answer has the status %d, which HTTP does not define", r.Status), Written: true}
	}
	if r.Status < 200 {
		return r // 101 hands over the connection, which then has no timeout
	}
	var err error
	r.Body, err = io.ReadAll(io.LimitReader(response.Body, MaxBody+1))
	switch {
	case err != nil:
		r.Err = fmt.Errorf("the answer is incomplete: %w", plain(err))
	case len(r.Body) > MaxBody:
		r.Err = fmt.Errorf("the answer is over %d bytes", MaxBody)
	}
	return r
}

var errRefused = errors.New("the server refused the HTTP/2 stream before it did anything")

// refusals are the errors of net/http (h2_bundle.go of Go 1.26) that prove that the
// server did nothing: REFUSED_STREAM (RFC 9113, section 8.7), and a stream above
// the last one of a GOAWAY (section 6.8), which for the first stream of a
// connection has a text of its own. The types are not exported, and the text says
// [%v] where it could wrap. What a server sends is in none of them.
var refusals = regexp.MustCompile(`^(` +
	`http2: Transport: cannot retry err \[(stream error: stream ID \d+; REFUSED_STREAM; received from peer` +
	`|http2: Transport received Server's graceful shutdown GOAWAY)\] after Request\.Body was written; define Request\.GetBody to avoid this error` +
	`|http2: Transport received GOAWAY from server ErrCode:[A-Za-z0-9_ ]+)$`)

// isRefusal reports whether an error of the transport proves that the server refused the
// request before it did anything.
func isRefusal(err error) bool { return refusals.MatchString(err.Error()) }
