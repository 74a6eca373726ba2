package fakeapi

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"
)

// Call is one logged request to an API. It contains no credential, correct or not.
type Call struct {
	// Number counts calls from 1 in the order in which they took effect, through all runs with one journal.
	Number uint64 `json:"number"`
	// Arrived is when the headers arrived, Time when the call took effect, after the latency. UTC.
	Time    time.Time `json:"time"`
	Arrived time.Time `json:"arrived"`

	API    API    `json:"api"`
	Method string `json:"method"`
	Path   string `json:"path"` // at most 256 bytes, without the query
	// Operation follows from method and path; empty if the API has no such operation.
	Operation Operation `json:"operation,omitzero"`
	// Entries are the entries of a well-formed call, in its order.
	Entries []Entry `json:"entries,omitempty"`
	// Authenticated is true if the credential was correct.
	Authenticated bool `json:"authenticated"`
	// TraceParent is the W3C trace context header; empty if missing or malformed.
	TraceParent string `json:"traceparent,omitzero"`

	// Deleted are the entries that this call removed, whatever its answer was.
	Deleted []Entry `json:"deleted,omitempty"`
	// Pending are the entries whose removal this call began. It is complete at PendingUntil.
	Pending      []Entry   `json:"pending,omitempty"`
	PendingUntil time.Time `json:"pending_until,omitzero"`

	// Status is the answer's status; 0: no answer.
	Status int `json:"status"`
	// Cut is true if the client got no answer or an incomplete one.
	Cut bool `json:"cut,omitzero"`
	// Fault is the reason for a wrong answer; empty for a correct one.
	Fault Fault `json:"fault,omitzero"`
	// Problem is what strict checking found in the request.
	Problem string `json:"problem,omitzero"`
	// RequestID is the request_id of a Sensay error.
	RequestID string `json:"request_id,omitzero"`
}

// Operation is what a call does.
type Operation string

// The operations that all APIs have.
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

// setRequest adds what protocol.read found.
func (c *Call) setRequest(req request) {
	c.Operation, c.Authenticated = req.operation, req.authenticated
	for _, k := range req.keys {
		c.Entries = append(c.Entries, k.entry(c.API))
	}
}

// setDecision replaces the outcome of the call.
func (c *Call) setDecision(d decision) {
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

// hasSecret compares in constant time.
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
