package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// The promises, as violations name them.
const (
	Missing    = "a request has no final result"
	Double     = "a request has two final results"
	Mistaken   = "a result is not the one that the request must have"
	NobodyAsks = "a result answers nobody"
	Unfounded  = "deleted without evidence"
	Untrue     = "not-found, but it was we who deleted it"
	NotAsked   = "something was deleted that nobody asked for"
	LateCall   = "a call after the final result"
	OffChain   = "a link does not follow the one before it"
	LeftBehind = "a message is left behind"
)

// lookSlack is how long after a final result a call to k-v.ai may still come:
// there only a look keeps two workers that have the same request apart, and a
// call must begin within 5 s of it.
const lookSlack = 5 * time.Second

// Link is one message of the results stream: an attempt or a result.
type Link struct {
	Sequence uint64
	Stored   time.Time
	Target   events.Target
	ID       string // the token that names the request
	Follows  uint64 // the link that its writer knew as the last
	Result   *events.Result
}

// Record is all that is known after a trial.
type Record struct {
	Published []Publication
	Links     []Link         // of the results stream, in its order
	Calls     []fakeapi.Call // of the API's journal, in its order
	Left      []string       // subjects of the messages that still wait
	// Undisturbed says that no worker, server or connection was touched, and that the API
	// answered every call that it took. An attempt without a call in its record was then refused.
	Undisturbed bool
}

// name is what a request is called by.
type name struct {
	target events.Target
	id     string
}

func (n name) String() string { return string(n.target) + " " + n.id }

type auditor struct {
	Record
	chains    map[name][]Link
	missing   map[fakeapi.Entry]bool // named by a request without a result
	answered  map[name]bool          // chains that belong to a publication
	finals    map[fakeapi.Entry][]Link
	calls     map[fakeapi.Entry][]fakeapi.Call
	asked     map[fakeapi.Entry]int // publications that name the entry
	uncertain bool                  // some event may be on its stream twice
	found     []Violation
}

// Audit returns every violation in a record.
func Audit(r Record) []Violation {
	a := &auditor{
		Record: r, chains: map[name][]Link{}, answered: map[name]bool{}, missing: map[fakeapi.Entry]bool{},
		finals: map[fakeapi.Entry][]Link{}, calls: map[fakeapi.Entry][]fakeapi.Call{}, asked: map[fakeapi.Entry]int{},
	}
	for _, l := range r.Links {
		n := name{l.Target, l.ID}
		a.chains[n] = append(a.chains[n], l)
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
			a.asked[e]++
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
	a.chained()
	a.truths()
	for _, subject := range r.Left {
		a.report(LeftBehind, name{id: subject}, "it was never acknowledged")
	}
	return a.found
}

func (a *auditor) report(promise string, of name, format string, args ...any) {
	a.found = append(a.found, Violation{Promise: promise, Request: strings.TrimSpace(of.String()), Detail: fmt.Sprintf(format, args...)})
}

// final returns a chain's one final result. It reports where there is none, or
// more than one.
func (a *auditor) final(n name) (Link, bool) {
	a.answered[n] = true
	var finals []Link
	pending := 0
	for _, l := range a.chains[n] {
		switch {
		case l.Result == nil:
		case l.Result.Outcome.Final():
			finals = append(finals, l)
		case len(finals) > 0:
			a.report(Double, n, "%s at %d comes after the final result", l.Result.Outcome, l.Sequence)
		default:
			pending++
		}
	}
	if pending > 1 {
		a.report(Double, n, "%d times accepted-pending", pending)
	}
	switch len(finals) {
	case 0:
		a.report(Missing, n, "%d links", len(a.chains[n]))
		return Link{}, false
	case 1:
		return finals[0], true
	default:
		var told []string
		for _, l := range finals {
			told = append(told, fmt.Sprintf("%s at %d", l.Result.Outcome, l.Sequence))
		}
		a.report(Double, n, "%s", strings.Join(told, ", "))
		return finals[0], true
	}
}

// malformed looks for the answer to an event that breaks the contract, under
// its id if that is free, and else under its sequence.
func (a *auditor) malformed(p Publication) {
	n := name{p.Target, events.SequenceID(p.Sequence)}
	if own := (name{p.Target, p.ID}); p.ID != "" && len(a.chains[n]) == 0 {
		n = own
	}
	l, ok := a.final(n)
	if ok && (l.Result.Outcome != events.Invalid || l.Result.Error.Code != p.Code) {
		a.report(Mistaken, n, "%s, want invalid with %s", describe(l), p.Code)
	}
}

// request looks for the answers to all publications under one id. The resource
// that the id's result names is the one that came first; each publication of
// another one has its own answer.
func (a *auditor) request(n name, published []Publication) {
	l, ok := a.final(n)
	if !ok { // and so nobody knows what to expect of the rest
		for _, p := range published {
			a.answered[name{p.Target, events.SequenceID(p.Sequence)}] = true
			for _, e := range entries(p.Resource) {
				a.missing[e] = true
			}
		}
		return
	}
	if l.Result.Resource == nil {
		a.report(Mistaken, n, "%s names no resource", describe(l))
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
			// Its call was out when the id was taken, and what it did is told.
			for _, e := range entries(p.Resource) {
				a.finals[e] = append(a.finals[e], answer)
			}
			a.evidence(reused, answer)
			continue
		}
		if ok && (answer.Result.Outcome != events.Invalid || answer.Result.Error.Code != events.CodeIDReused) {
			a.report(Mistaken, reused, "%s, want invalid with id-reused", describe(answer))
		}
	}
	if !known {
		a.report(Mistaken, n, "%s is about a resource that nobody named", describe(l))
	}
	for _, e := range entries(l.Result.Resource) {
		a.finals[e] = append(a.finals[e], l)
	}
	a.evidence(n, l)
}

// evidence looks whether a final result says what the API's record says.
func (a *auditor) evidence(n name, l Link) {
	r := l.Result
	switch {
	case r.Outcome == events.Failed:
		a.report(Mistaken, n, "%s: no answer in a trial is one that ends a request", describe(l))
	case r.Outcome != events.Deleted:
	case r.Evidence == nil || r.Evidence.Status == 0:
		a.report(Unfounded, n, "%s has no evidence", describe(l))
	case r.Evidence.Status == 200:
		for _, e := range entries(r.Resource) {
			if !slices.ContainsFunc(a.calls[e], clear200) {
				a.report(Unfounded, n, "the API never said 200 for %s", e)
			}
		}
	case r.Evidence.Status == 202 || r.Evidence.Status == 404:
		pending := slices.ContainsFunc(a.chains[n], func(l Link) bool { return l.Result != nil && l.Result.Outcome == events.AcceptedPending })
		if !pending && (!r.Evidence.AfterUnansweredAttempt || r.Attempts < 2) {
			a.report(Unfounded, n, "%d after %d attempts, none of them unanswered", r.Evidence.Status, r.Attempts)
		}
		for _, e := range entries(r.Resource) {
			// A stream that the API refused was never a call, and so is not in its record.
			if a.Undisturbed && !pending && len(a.calls[e]) < 2 {
				a.report(Unfounded, n, "%d, and the API has no call before it", r.Evidence.Status)
			}
		}
	default:
		a.report(Unfounded, n, "status %d", r.Evidence.Status)
	}
}

// clear200 reports whether a caller got a true and whole 200.
func clear200(c fakeapi.Call) bool {
	return c.Status == 200 && (c.Fault == "" || c.Fault == fakeapi.Recycle) && !c.Cut
}

// chained looks at what is left: chains of nobody, and links out of place.
func (a *auditor) chained() {
	for n, links := range a.chains {
		if !a.answered[n] && (!a.uncertain || !strings.HasPrefix(n.id, "seq-")) {
			a.report(NobodyAsks, n, "%s", describe(links[len(links)-1]))
		}
		var last uint64
		for _, l := range links {
			if l.Follows != last {
				a.report(OffChain, n, "%d was written to follow %d and stands behind %d", l.Sequence, l.Follows, last)
			}
			last = l.Sequence
		}
	}
}

// truths holds the API's record against the results, entry by entry.
func (a *auditor) truths() {
	for _, c := range a.Calls {
		for _, e := range slices.Concat(c.Deleted, c.Pending) {
			if a.asked[e] == 0 {
				a.report(NotAsked, name{id: e.String()}, "call %d", c.Number)
			}
		}
	}
	for e, calls := range a.calls {
		// To k-v.ai, two requests under one id may both get before either result.
		if e.API == fakeapi.Sensay && a.asked[e] > 0 && a.finals[e] == nil && !a.missing[e] {
			a.report(NotAsked, name{id: e.String()}, "call %d was made for a request whose id names another", calls[0].Number)
		}
	}
	for e, finals := range a.finals {
		removed := slices.ContainsFunc(a.calls[e], func(c fakeapi.Call) bool {
			return slices.Contains(c.Deleted, e) || slices.Contains(c.Pending, e)
		})
		missed := !slices.ContainsFunc(finals, func(l Link) bool { return l.Result.Outcome != events.NotFound })
		if removed && missed {
			a.report(Untrue, name{finals[0].Target, finals[0].ID}, "the record has %s as deleted", e)
		}
		over := finals[0].Stored
		for _, l := range finals {
			if l.Stored.After(over) {
				over = l.Stored
			}
		}
		if e.API == fakeapi.KV {
			over = over.Add(lookSlack)
		}
		for _, c := range a.calls[e] {
			if c.Arrived.After(over) {
				a.report(LateCall, name{finals[0].Target, finals[0].ID}, "call %d for %s came %s after", c.Number, e, c.Arrived.Sub(over))
			}
		}
	}
}

func describe(l Link) string {
	if l.Result == nil {
		return fmt.Sprintf("the attempt at %d", l.Sequence)
	}
	text := fmt.Sprintf("%s at %d", l.Result.Outcome, l.Sequence)
	if l.Result.Error != nil {
		text += fmt.Sprintf(" (%s: %s)", l.Result.Error.Code, l.Result.Error.Message)
	}
	return text
}

// entries are what a resource is to the sandbox.
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
