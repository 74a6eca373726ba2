package fakeapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// answer is an HTTP answer and its delivery.
type answer struct {
	status      int
	contentType string // empty: application/json
	retryAfter  string
	ratePolicy  string
	rateLimit   string
	allow       string
	requestID   string // Sensay's, for the call log
	body        []byte
	delivery    delivery
	slowFor     time.Duration
}

// delivery is how an answer is sent.
type delivery uint8

const (
	deliverWhole   delivery = iota
	deliverCut              // no answer; close the connection
	deliverCutBody          // half of the body; close the connection
	deliverHang             // no answer until the client disconnects
	deliverEndless          // body without end until the client disconnects
	deliverSlow             // body byte by byte
	deliverRecycle          // whole answer; then close the connection
)

// answered reports whether the client gets a status.
func (a answer) answered() bool { return a.delivery != deliverCut && a.delivery != deliverHang }

// applyFault turns a correct answer into a wrong one.
func (fake *fakeAPI) applyFault(correct answer, f fault, call callMeta) answer {
	switch f.kind {
	case Cut:
		return answer{delivery: deliverCut}
	case Hang:
		return answer{delivery: deliverHang}
	case Endless:
		return answer{status: http.StatusOK, delivery: deliverEndless}
	case CutBody:
		correct.delivery = deliverCutBody
		return correct
	case Truncated:
		correct.body = correct.body[:len(correct.body)/2]
		return correct
	case Empty:
		return answer{status: http.StatusOK}
	case Lie:
		return fake.protocol.lie(call)
	case kindHTML:
		return htmlPage(f.status)
	case kindJSON:
		return answer{status: f.status, body: []byte("{}")}
	default:
		return fake.protocol.refuse(refusal{status: f.status}, call)
	}
}

// htmlPage is a gateway's error page.
func htmlPage(status int) answer {
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	return answer{
		status:      status,
		contentType: "text/html",
		body: fmt.Appendf(nil, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n"+
			"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n", title, title),
	}
}

// send writes the answer. To cut the connection it panics with http.ErrAbortHandler.
func (a answer) send(w http.ResponseWriter, r *http.Request, done <-chan struct{}) {
	switch a.delivery {
	case deliverCut:
		panic(http.ErrAbortHandler)
	case deliverHang:
		select {
		case <-r.Context().Done():
		case <-done:
		}
		panic(http.ErrAbortHandler)
	}
	a.sendHeader(w, r)
	switch a.delivery {
	case deliverWhole, deliverRecycle:
		_, _ = w.Write(a.body) // the client may have disconnected
	case deliverCutBody:
		_, _ = w.Write(a.body[:len(a.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case deliverSlow:
		a.sendSlowly(w, r, done)
	case deliverEndless:
		sendEndless(w, r, done)
	}
}

func (a answer) sendHeader(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	contentType := a.contentType
	if contentType == "" {
		contentType = "application/json"
	}
	header.Set("Content-Type", contentType)
	if a.delivery == deliverRecycle {
		header.Set("Connection", "close")
	}
	if a.retryAfter != "" {
		header.Set("Retry-After", a.retryAfter)
	}
	if a.ratePolicy != "" {
		header.Set("RateLimit-Policy", a.ratePolicy)
		header.Set("RateLimit", a.rateLimit)
	}
	if a.allow != "" {
		header.Set("Allow", a.allow)
	}
	if a.status/100 == 3 {
		// The same path: the call log then shows whether a client follows redirects.
		header.Set("Location", r.URL.EscapedPath()+"?moved=1")
	}
	switch {
	case a.delivery == deliverEndless:
	case a.status == http.StatusNoContent || a.status == http.StatusNotModified:
		header.Del("Content-Type")
	default:
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
}

// sendSlowly spreads the body evenly over slowFor.
func (a answer) sendSlowly(w http.ResponseWriter, r *http.Request, done <-chan struct{}) {
	flush := http.NewResponseController(w)
	ticker := time.NewTicker(max(a.slowFor/time.Duration(max(len(a.body), 1)), 1))
	defer ticker.Stop()
	for i := range a.body {
		_ = flush.Flush()
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-done:
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(a.body[i : i+1])
	}
}

func sendEndless(w http.ResponseWriter, r *http.Request, done <-chan struct{}) {
	chunk := make([]byte, 16<<10)
	for i := range chunk {
		chunk[i] = ' ' // valid white space before a JSON value
	}
	for {
		select {
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-done:
			panic(http.ErrAbortHandler)
		default:
		}
		if _, err := w.Write(chunk); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// mustJSON encodes this package's own values, which cannot fail.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
