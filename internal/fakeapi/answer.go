package fakeapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// answer is what is sent, and how.
type answer struct {
	status      int
	contentType string // application/json where it is empty
	retryAfter  string
	ratePolicy  string
	rateLimit   string
	allow       string
	requestID   string // Sensay's, for the record
	body        []byte
	manner      manner
	slowFor     time.Duration
}

// manner is how an answer is sent.
type manner uint8

const (
	mannerWhole   manner = iota
	mannerCut            // nothing, and the connection is closed
	mannerCutBody        // half of the body, and the connection is closed
	mannerHang           // nothing, until the caller leaves
	mannerEndless        // a body without an end, until the caller leaves
	mannerSlow           // the body byte by byte
	mannerRecycle        // the whole, and the connection takes no more calls
)

// answered reports whether the caller is given a status.
func (a answer) answered() bool { return a.manner != mannerCut && a.manner != mannerHang }

// spoil makes a wrong answer out of a true one.
func (d *side) spoil(truth answer, f fault, t ticket) answer {
	switch f.kind {
	case Cut:
		return answer{manner: mannerCut}
	case Hang:
		return answer{manner: mannerHang}
	case Endless:
		return answer{status: http.StatusOK, manner: mannerEndless}
	case CutBody:
		truth.manner = mannerCutBody
		return truth
	case Truncated:
		truth.body = truth.body[:len(truth.body)/2]
		return truth
	case Empty:
		return answer{status: http.StatusOK}
	case Lie:
		return d.dialect.lie(t)
	case kindHTML:
		return htmlPage(f.status)
	case kindJSON:
		return answer{status: f.status, body: []byte("{}")}
	default:
		return d.dialect.refuse(refusal{status: f.status}, t)
	}
}

// htmlPage is what a gateway between caller and API would say.
func htmlPage(status int) answer {
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	return answer{
		status:      status,
		contentType: "text/html",
		body: fmt.Appendf(nil, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n"+
			"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n", title, title),
	}
}

// send writes the answer. It does not return, but panics with http.ErrAbortHandler, where the connection is to be cut.
func (a answer) send(w http.ResponseWriter, r *http.Request, done <-chan struct{}) {
	switch a.manner {
	case mannerCut:
		panic(http.ErrAbortHandler)
	case mannerHang:
		select {
		case <-r.Context().Done():
		case <-done:
		}
		panic(http.ErrAbortHandler)
	}
	a.sendHeader(w, r)
	switch a.manner {
	case mannerWhole, mannerRecycle:
		_, _ = w.Write(a.body) // the caller may have left: nobody to tell
	case mannerCutBody:
		_, _ = w.Write(a.body[:len(a.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case mannerSlow:
		a.sendSlowly(w, r, done)
	case mannerEndless:
		sendForEver(w, r, done)
	}
}

func (a answer) sendHeader(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	contentType := a.contentType
	if contentType == "" {
		contentType = "application/json"
	}
	header.Set("Content-Type", contentType)
	if a.manner == mannerRecycle {
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
		// The same path: a caller that follows the redirect shows up in the record with a second call.
		header.Set("Location", r.URL.EscapedPath()+"?moved=1")
	}
	switch {
	case a.manner == mannerEndless:
	case a.status == http.StatusNoContent || a.status == http.StatusNotModified:
		header.Del("Content-Type")
	default:
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
}

// sendSlowly spreads the body evenly over the time it is to take.
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

func sendForEver(w http.ResponseWriter, r *http.Request, done <-chan struct{}) {
	chunk := make([]byte, 16<<10)
	for i := range chunk {
		chunk[i] = ' ' // white space before a JSON value, as far as anyone can tell
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

// mustJSON encodes values of our own making, which cannot fail.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
