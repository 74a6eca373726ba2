package fakeapi

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Fault is one way of answering wrongly, by name. The same names serve in Go, in JSON and in flags.
//
// A name is one of the constants, or one of these with NNN standing for a status:
//
//	NNN       that status (300 to 599, or 204) in the API's own error shape; 300 to 399 redirect to the same path
//	html-NNN  an HTML page, such as a gateway's, with that status (200 to 599)
//	json-NNN  the JSON object {} with that status (200 to 599)
//
// The entry is left alone, unless "+after" follows the name: then the call first does what it asks for and is answered
// wrongly afterwards, as in "cut+after" or "503+after". The constants that say so cannot be followed by it.
type Fault string

// Faults that are not a status.
const (
	// None answers truly. In a script it stands for a call that no chance may spoil.
	None Fault = "none"
	// Cut closes the connection without an answer, with nothing deleted. Over HTTP/2 it resets the call's stream alone, and
	// so do the other faults that close a connection.
	Cut Fault = "cut"
	// CutAfter deletes, then closes the connection without an answer.
	CutAfter Fault = "cut+after"
	// CutBody closes the connection in the middle of the answer's body.
	CutBody Fault = "cut-body"
	// Truncated sends half of the body as if it were the whole.
	Truncated Fault = "truncated"
	// Empty is a 200 without a body.
	Empty Fault = "empty"
	// Lie is a 200 that says success false.
	Lie Fault = "lie"
	// Hang never answers; it lasts until the caller leaves.
	Hang Fault = "hang"
	// Endless is a 200 whose body never ends; it lasts until the caller leaves.
	Endless Fault = "endless"
	// Slow answers truly, byte by byte over [Faults].SlowFor. No "+after".
	Slow Fault = "slow"
	// Recycle answers truly with "Connection: close": HTTP/1.1 closes the connection after the answer, HTTP/2 sends GOAWAY
	// and does nothing with the streams that the caller opens after it. No "+after".
	Recycle Fault = "recycle"
	// AcceptPending makes Sensay answer 202 for an entry that can be deleted. No "+after".
	AcceptPending Fault = "pending"
	// Refused makes k-v.ai answer 422 with the entry's position in the list; nothing is deleted. No "+after".
	Refused Fault = "refused"
	// Partial makes k-v.ai answer 206 with the entry in data.invalid_contexts; the other entries are deleted. When the
	// list holds nothing else, it is 400 with the same data. No "+after".
	Partial Fault = "partial"
)

// fault is a Fault taken apart.
type fault struct {
	kind   Fault // a constant without "+after", or one of the kinds below
	status int   // of the kinds below
	after  bool  // delete first
}

const (
	kindStatus Fault = "status"
	kindHTML   Fault = "html"
	kindJSON   Fault = "json"
)

// spoils reports whether the true answer is replaced.
func (f fault) spoils() bool {
	return !slices.Contains([]Fault{None, Slow, Recycle, AcceptPending, Refused, Partial}, f.kind)
}

func (f Fault) parse() (fault, error) {
	name, after := strings.CutSuffix(string(f), "+after")
	parsed := fault{kind: Fault(name), after: after}
	switch parsed.kind {
	case Cut, CutBody, Truncated, Empty, Lie, Hang, Endless:
		return parsed, nil
	case None, Slow, Recycle, AcceptPending, Refused, Partial:
		if after {
			return fault{}, fmt.Errorf("fault %s cannot be followed by +after", name)
		}
		return parsed, nil
	}
	parsed.kind = kindStatus
	least := 300
	if rest, ok := strings.CutPrefix(name, "html-"); ok {
		parsed.kind, least, name = kindHTML, 200, rest
	} else if rest, ok := strings.CutPrefix(name, "json-"); ok {
		parsed.kind, least, name = kindJSON, 200, rest
	}
	status, err := strconv.Atoi(name)
	if err != nil || len(name) != 3 || status > 599 || status < least && status != 204 {
		return fault{}, fmt.Errorf("no fault is called %q", string(f))
	}
	parsed.status = status
	return parsed, nil
}

// check returns the fault taken apart, or why api cannot have it.
func (f Fault) check(api API) (fault, error) {
	parsed, err := f.parse()
	switch {
	case err != nil:
		return fault{}, err
	case api == KV && parsed.kind == AcceptPending:
		return fault{}, errors.New("fault pending is for sensay alone")
	case api == Sensay && (parsed.kind == Refused || parsed.kind == Partial):
		return fault{}, fmt.Errorf("fault %s is for kv alone", f)
	}
	return parsed, nil
}
