package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// The guarantees, as violations name them.
const (
	Missing       = "a request has no final result"
	Duplicate     = "a request has two final results"
	WrongResult   = "a request has the wrong result"
	Unrequested   = "a result without a request"
	NoEvidence    = "deleted without evidence"
	FalseNotFound = "not-found, but Lethe deleted it"
	WrongDeletion = "something was deleted without a request"
	LateCall      = "a call after the final result"
	WrongOrder    = "a record does not follow the one before it"
	Stranded      = "a message is left in a queue"
	PausedCall    = "a call while the lane is paused"
)

// checkSlack is how long after a final result a call to k-v.ai may still arrive:
// only an existence check keeps two workers with the same request apart, and a call
// must start within 5 s of its check.
const checkSlack = 5 * time.Second

// Record is one message of the results stream: an attempt or a result.
type Record struct {
	Sequence uint64
	Stored   time.Time
	Target   events.Target
	ID       string // of the request, from the subject
	Expected uint64 // the sequence of the previous record, as its writer knew it
	Result   *events.Result
}

// Observations are what the audit of a trial uses.
type Observations struct {
	Published []Publication
	Records   []Record       // of the results stream, in its order
	Calls     []fakeapi.Call // of the API's journal, in its order
	Left      []string       // subjects of the messages still in the queues
	Pauses    []Pause
	// Undisturbed is true if no fault was injected and the API answered every call that
	// it received. Then an attempt without a call in the journal was refused.
	Undisturbed bool
}

// name identifies a request.
type name struct {
	target events.Target
	id     string
}

func (n name) String() string { return string(n.target) + " " + n.id }

type auditor struct {
	Observations
	records   map[name][]Record
	missing   map[fakeapi.Entry]bool // entries of requests without a result
	expected  map[name]bool          // names of results that a publication explains
	finals    map[fakeapi.Entry][]Record
	calls     map[fakeapi.Entry][]fakeapi.Call
	requested map[fakeapi.Entry]int // number of publications that name the entry
	uncertain bool                  // an event may be stored twice
	found     []Violation
}

// Audit returns every violation in the observations.
func Audit(r Observations) []Violation {
	a := &auditor{
		Observations: r, records: map[name][]Record{}, expected: map[name]bool{}, missing: map[fakeapi.Entry]bool{},
		finals: map[fakeapi.Entry][]Record{}, calls: map[fakeapi.Entry][]fakeapi.Call{}, requested: map[fakeapi.Entry]int{},
	}
	for _, l := range r.Records {
		n := name{l.Target, l.ID}
		a.records[n] = append(a.records[n], l)
	}
	for _, c := range r.Calls {
		for _, e := range c.Entries {
			a.calls[e] = append(a.calls[e], c)
		}
	}
	groups := map[name][]Publication{}
	var order []name
	for _, p := range r.Published {
		a.uncertain = a.uncertain || p.Twice
		for _, e := range entries(p.Resource) {
			a.requested[e]++
		}
		if p.Code != "" {
			a.malformed(p)
			continue
		}
		n := name{p.Target, p.ID}
		if groups[n] == nil {
			order = append(order, n)
		}
		groups[n] = append(groups[n], p)
	}
	for _, n := range order {
		a.request(n, groups[n])
	}
	a.checkOrder()
	a.compareEntries()
	a.checkPauses()
	for _, subject := range r.Left {
		a.report(Stranded, name{id: subject}, "it was not acknowledged")
	}
	return a.found
}

func (a *auditor) report(promise string, of name, format string, args ...any) {
	a.found = append(a.found, Violation{Promise: promise, Request: strings.TrimSpace(of.String()), Detail: fmt.Sprintf(format, args...)})
}

// final returns the final result of a request. It reports a request without one,
// or with more than one.
func (a *auditor) final(n name) (Record, bool) {
	a.expected[n] = true
	var finals []Record
	pending := 0
	for _, l := range a.records[n] {
		switch {
		case l.Result == nil:
		case l.Result.Outcome.Final():
			finals = append(finals, l)
		case len(finals) > 0:
			a.report(Duplicate, n, "%s at %d comes after the final result", l.Result.Outcome, l.Sequence)
		default:
			pending++
		}
	}
	if pending > 1 {
		a.report(Duplicate, n, "%d times accepted-pending", pending)
	}
	switch len(finals) {
	case 0:
		a.report(Missing, n, "%d records", len(a.records[n]))
		return Record{}, false
	case 1:
		return finals[0], true
	default:
		var descriptions []string
		for _, l := range finals {
			descriptions = append(descriptions, fmt.Sprintf("%s at %d", l.Result.Outcome, l.Sequence))
		}
		a.report(Duplicate, n, "%s", strings.Join(descriptions, ", "))
		return finals[0], true
	}
}

// malformed checks the result of a malformed event. It has the event's id if no other
// request uses that, else an id made from the event's sequence.
func (a *auditor) malformed(p Publication) {
	n := name{p.Target, events.SequenceID(p.Sequence)}
	if own := (name{p.Target, p.ID}); p.ID != "" && len(a.records[n]) == 0 {
		n = own
	}
	l, ok := a.final(n)
	if ok && (l.Result.Outcome != events.Invalid || l.Result.Error.Code != p.Code) {
		a.report(WrongResult, n, "%s, want invalid with %s", describe(l), p.Code)
	}
}

// request checks the results of all publications with one id. The result with that id
// names the resource that was claimed first. Each publication of another resource has a
// result with an id made from its sequence.
func (a *auditor) request(n name, published []Publication) {
	l, ok := a.final(n)
	if !ok { // the results of the other publications depend on it
		for _, p := range published {
			a.expected[name{p.Target, events.SequenceID(p.Sequence)}] = true
			for _, e := range entries(p.Resource) {
				a.missing[e] = true
			}
		}
		return
	}
	if l.Result.Resource == nil {
		a.report(WrongResult, n, "%s names no resource", describe(l))
		return
	}
	first := events.Fingerprint(l.Result.Resource)
	known := false
	for _, p := range published {
		if events.Fingerprint(p.Resource) == first {
			known = true
			continue
		}
		reused := name{p.Target, events.SequenceID(p.Sequence)}
		answer, ok := a.final(reused)
		if ok && answer.Result.Outcome == events.Deleted && p.Target == events.KVUserContext {
			// Its call was in flight when the other request took the id. The result reports
			// the deletion.
			for _, e := range entries(p.Resource) {
				a.finals[e] = append(a.finals[e], answer)
			}
			a.evidence(reused, answer)
			continue
		}
		if ok && (answer.Result.Outcome != events.Invalid || answer.Result.Error.Code != events.CodeIDReused) {
			a.report(WrongResult, reused, "%s, want invalid with id-reused", describe(answer))
		}
	}
	if !known {
		a.report(WrongResult, n, "%s names a resource that no publication has", describe(l))
	}
	for _, e := range entries(l.Result.Resource) {
		a.finals[e] = append(a.finals[e], l)
	}
	a.evidence(n, l)
}

// evidence compares a final result with the API's journal.
func (a *auditor) evidence(n name, l Record) {
	r := l.Result
	switch {
	case r.Outcome == events.Failed:
		a.report(WrongResult, n, "%s: no fault in a trial lasts long enough to fail a request", describe(l))
	case r.Outcome != events.Deleted:
	case r.Evidence == nil || r.Evidence.Status == 0:
		a.report(NoEvidence, n, "%s has no evidence", describe(l))
	case r.Evidence.Status == 200:
		for _, e := range entries(r.Resource) {
			if !slices.ContainsFunc(a.calls[e], clear200) {
				a.report(NoEvidence, n, "the API never answered 200 for %s", e)
			}
		}
	case r.Evidence.Status == 202 || r.Evidence.Status == 404:
		pending := slices.ContainsFunc(a.records[n], func(l Record) bool { return l.Result != nil && l.Result.Outcome == events.AcceptedPending })
		if !pending && (!r.Evidence.AfterUnansweredAttempt || r.Attempts < 2) {
			a.report(NoEvidence, n, "%d after %d attempts, none of them unanswered", r.Evidence.Status, r.Attempts)
		}
		for _, e := range entries(r.Resource) {
			// A refused HTTP/2 stream is not a call, so the journal does not have it.
			if a.Undisturbed && !pending && len(a.calls[e]) < 2 {
				a.report(NoEvidence, n, "%d, and the journal has no earlier call", r.Evidence.Status)
			}
		}
	default:
		a.report(NoEvidence, n, "status %d", r.Evidence.Status)
	}
}

// clear200 reports whether the caller received a correct and complete 200.
func clear200(c fakeapi.Call) bool {
	return c.Status == 200 && (c.Fault == "" || c.Fault == fakeapi.Recycle) && !c.Cut
}

// checkOrder reports records without a publication, and records out of order.
func (a *auditor) checkOrder() {
	for n, records := range a.records {
		if !a.expected[n] && (!a.uncertain || !strings.HasPrefix(n.id, "seq-")) {
			a.report(Unrequested, n, "%s", describe(records[len(records)-1]))
		}
		var last uint64
		for _, l := range records {
			if l.Expected != last {
				a.report(WrongOrder, n, "%d was written to follow %d but follows %d", l.Sequence, l.Expected, last)
			}
			last = l.Sequence
		}
	}
}

// compareEntries compares the API's journal with the results, entry by entry.
func (a *auditor) compareEntries() {
	for _, c := range a.Calls {
		for _, e := range slices.Concat(c.Deleted, c.Pending) {
			if a.requested[e] == 0 {
				a.report(WrongDeletion, name{id: e.String()}, "call %d", c.Number)
			}
		}
	}
	for e, calls := range a.calls {
		// Two k-v.ai requests with one id may both lead to a call before either has a result.
		if e.API == fakeapi.Sensay && a.requested[e] > 0 && a.finals[e] == nil && !a.missing[e] {
			a.report(WrongDeletion, name{id: e.String()}, "call %d was made for a request whose id belongs to another resource", calls[0].Number)
		}
	}
	for e, finals := range a.finals {
		removed := slices.ContainsFunc(a.calls[e], func(c fakeapi.Call) bool {
			return slices.Contains(c.Deleted, e) || slices.Contains(c.Pending, e)
		})
		missed := !slices.ContainsFunc(finals, func(l Record) bool { return l.Result.Outcome != events.NotFound })
		if removed && missed {
			a.report(FalseNotFound, name{finals[0].Target, finals[0].ID}, "the journal says that a call deleted %s", e)
		}
		over := finals[0].Stored
		for _, l := range finals {
			if l.Stored.After(over) {
				over = l.Stored
			}
		}
		if e.API == fakeapi.KV {
			over = over.Add(checkSlack)
		}
		for _, c := range a.calls[e] {
			if c.Arrived.After(over) {
				a.report(LateCall, name{finals[0].Target, finals[0].ID}, "call %d for %s came %s after", c.Number, e, c.Arrived.Sub(over))
			}
		}
	}
}

// checkPauses reports calls that arrived while their lane was paused.
func (a *auditor) checkPauses() {
	for _, p := range a.Pauses {
		for _, c := range a.Calls {
			if apis[p.Target] == c.API && c.Arrived.After(p.From) && c.Arrived.Before(p.To) {
				a.report(PausedCall, name{target: p.Target}, "call %d came %s after `lethe pause` had returned", c.Number, c.Arrived.Sub(p.From))
			}
		}
	}
}

// apis are the fake APIs of the targets.
var apis = map[events.Target]fakeapi.API{events.KVUserContext: fakeapi.KV, events.SensayKnowledgeBase: fakeapi.Sensay}

func describe(l Record) string {
	if l.Result == nil {
		return fmt.Sprintf("the attempt at %d", l.Sequence)
	}
	text := fmt.Sprintf("%s at %d", l.Result.Outcome, l.Sequence)
	if l.Result.Error != nil {
		text += fmt.Sprintf(" (%s: %s)", l.Result.Error.Code, l.Result.Error.Message)
	}
	return text
}

// entries returns the fake API's entries of a resource.
func entries(res events.Resource) []fakeapi.Entry {
	switch r := res.(type) {
	case events.UserContexts:
		var all []fakeapi.Entry
		for _, id := range r.IDs {
			all = append(all, fakeapi.Context(id))
		}
		return all
	case events.KnowledgeBaseEntry:
		return []fakeapi.Entry{fakeapi.KnowledgeBaseEntry(r.ReplicaUUID, r.KnowledgeBaseID)}
	default:
		return nil
	}
}
