package fakeapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Fault names one kind of wrong answer. The names are the same in Go, in JSON and in flags.
//
// A name is one of the constants, or one of these with NNN standing for a status:
//
//	NNN       that status (300 to 599, or 204) in the API's error form; 300 to 399 redirect to the same path
//	html-NNN  an HTML page, as from a gateway, with that status (200 to 599)
//	json-NNN  the JSON object {} with that status (200 to 599)
//
// The fault prevents the deletion unless its name ends in "+after": then the call deletes first and gets the wrong
// answer afterwards, as in "cut+after" or "503+after". Constants marked so do not take "+after".
type Fault string

// Faults that are not a status.
const (
	// None is the correct answer. In a script it prevents random faults.
	None Fault = "none"
	// Cut closes the connection without an answer. Over HTTP/2 this and the other faults that close a connection reset
	// the call's stream only.
	Cut Fault = "cut"
	// CutAfter deletes, then closes the connection without an answer.
	CutAfter Fault = "cut+after"
	// CutBody closes the connection in the middle of the body.
	CutBody Fault = "cut-body"
	// Truncated sends half of the body with a matching Content-Length.
	Truncated Fault = "truncated"
	// Empty is a 200 without a body.
	Empty Fault = "empty"
	// Lie is a 200 with success false.
	Lie Fault = "lie"
	// Hang never answers; it lasts until the client disconnects.
	Hang Fault = "hang"
	// Endless is a 200 whose body never ends; it lasts until the client disconnects.
	Endless Fault = "endless"
	// Slow sends the correct answer byte by byte over [Faults].SlowFor. No "+after".
	Slow Fault = "slow"
	// Recycle sends the correct answer with "Connection: close": HTTP/1.1 closes the connection after the answer, HTTP/2
	// sends GOAWAY and ignores streams that the client opens after it. No "+after".
	Recycle Fault = "recycle"
	// AcceptPending is Sensay's 202 for an entry that can be deleted. No "+after".
	AcceptPending Fault = "pending"
	// Refused is k-v.ai's 422 with the entry's position in the list; nothing is deleted. No "+after".
	Refused Fault = "refused"
	// Partial is k-v.ai's 206 with the entry in data.invalid_contexts; the other entries are deleted. If the list has no
	// other entries, it is 400 with the same data. No "+after".
	Partial Fault = "partial"
)

// fault is a parsed Fault.
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

// replacesAnswer reports whether the fault replaces the correct answer.
func (f fault) replacesAnswer() bool {
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
		return fault{}, fmt.Errorf("unknown fault %q", string(f))
	}
	parsed.status = status
	return parsed, nil
}

// check parses the fault. It is an error if api cannot have it.
func (f Fault) check(api API) (fault, error) {
	parsed, err := f.parse()
	if err != nil || slices.Contains(api.definition().faults, parsed.kind) {
		return parsed, err
	}
	for _, d := range definitions {
		if slices.Contains(d.faults, parsed.kind) {
			return fault{}, fmt.Errorf("fault %s is for %s only", f, d.api)
		}
	}
	return parsed, nil
}
