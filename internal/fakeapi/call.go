package fakeapi

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"
)

// Call is the record of one request to either API. It never holds a credential, right or wrong.
type Call struct {
	// Number counts the calls of a sandbox, and of the journal that it goes on with, from 1, in the order in which they
	// took effect.
	Number uint64 `json:"number"`
	// Time is when the call took effect, and Arrived when its headers came in; latency lies between. UTC.
	Time    time.Time `json:"time"`
	Arrived time.Time `json:"arrived"`

	API    API    `json:"api"`
	Method string `json:"method"`
	Path   string `json:"path"` // at most 256 bytes, without the query
	// Operation is what the path and the method ask for; empty when that is nothing the API has.
	Operation Operation `json:"operation,omitzero"`
	// Entries are those that a well-formed call named, as the list has them.
	Entries []Entry `json:"entries,omitempty"`
	// Authenticated says that the credential was right.
	Authenticated bool `json:"authenticated"`
	// TraceParent is the W3C trace context header; empty when there was none, or none that is well-formed.
	TraceParent string `json:"traceparent,omitzero"`

	// Deleted are the entries that this call removed, whatever the caller was told.
	Deleted []Entry `json:"deleted,omitempty"`
	// Pending are the entries whose removal this call began; they are gone at PendingUntil.
	Pending      []Entry   `json:"pending,omitempty"`
	PendingUntil time.Time `json:"pending_until,omitzero"`

	// Status is what was answered; 0 when nothing was.
	Status int `json:"status"`
	// Cut says that the caller did not get the whole of an answer: none at all, or a connection closed within it.
	Cut bool `json:"cut,omitzero"`
	// Fault is why the answer was not the true one; empty when it was.
	Fault Fault `json:"fault,omitzero"`
	// Problem is what strict checking found wrong with the request.
	Problem string `json:"problem,omitzero"`
	// RequestID is the request_id of a Sensay error.
	RequestID string `json:"request_id,omitzero"`
}

// Operation is what a call asks for.
type Operation string

// The operations that both APIs have.
const (
	Delete Operation = "delete"
	Read   Operation = "read" // "is it there?"
)

func newCall(api API, r *http.Request, redact func(string) string) Call {
	call := Call{
		Arrived: time.Now().UTC(),
		API:     api,
		Method:  bounded(redact(r.Method)),
		Path:    bounded(redact(r.URL.Path)),
	}
	if parent := r.Header.Get("Traceparent"); isTraceParent(parent) {
		call.TraceParent = parent
	}
	return call
}

// understand notes what the request asks for.
func (c *Call) understand(req request) {
	c.Operation, c.Authenticated = req.operation, req.authenticated
	for _, k := range req.keys {
		c.Entries = append(c.Entries, k.entry(c.API))
	}
}

// conclude notes what was decided, in place of anything noted before.
func (c *Call) conclude(d decision) {
	c.Status, c.RequestID, c.Problem, c.Fault = d.answer.status, d.answer.requestID, d.problem, ""
	if d.fault != None {
		c.Fault = d.fault
	}
	c.Cut = !d.answer.answered() || d.answer.delivery == deliverCutBody || d.answer.delivery == deliverEndless
	if !d.answer.answered() {
		c.Status = 0
	}
	c.Deleted, c.Pending, c.PendingUntil = nil, nil, time.Time{}
	for _, change := range d.changes {
		if entry := change.key.entry(c.API); change.gone.After(c.Time) {
			c.Pending, c.PendingUntil = append(c.Pending, entry), change.gone
		} else {
			c.Deleted = append(c.Deleted, entry)
		}
	}
}

// hasSecret compares without telling by its time how much was right.
func hasSecret(header http.Header, name, secret string) bool {
	values := header.Values(name)
	return len(values) == 1 && subtle.ConstantTimeCompare([]byte(values[0]), []byte(secret)) == 1
}

// isTraceParent reports whether s is version-traceid-parentid-flags (W3C Trace Context, section 3.2), version 00.
func isTraceParent(s string) bool {
	parts := strings.Split(s, "-")
	if len(s) != 55 || len(parts) != 4 || parts[0] != "00" || len(parts[1]) != 32 || len(parts[2]) != 16 {
		return false
	}
	for _, b := range []byte(strings.Join(parts, "")) {
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return false
		}
	}
	return true
}
