package consumer

import (
	"net/http"
	"slices"

	"github.com/lethe-dev/lethe/deleter"
)

// callResult is the result of a call for one of its requests.
type callResult struct {
	answer     deleter.Answer
	calls      int  // that were made for it
	retry      bool // it has no answer: it lost its claim, or the turn of a call did not come
	unanswered bool // it has no answer of its own: no further call could be made, answer says why
}

// bisection finds the answer of each request in a shared call. Most calls have one answer
// for all. A refusal that names ids is the answer of the requests that contain them; one
// that names none is bisected, in at most 2·k·log2(n) calls after the first for k refused
// among n requests.
//
// While few are refused, the halves that were not tried yet are collected and tried in
// one call, because probably all of them can be deleted.
type bisection struct {
	// try makes one call for some of the requests, and returns those for which it was
	// made in the end.
	try func(set []int) (answer deleter.Answer, called []int)
	// halted reports whether no further call may be made.
	halted func() bool
	// refusedOf are the ids of a request among those that an answer refuses.
	refusedOf func(request int, a deleter.Answer) []int64

	results []callResult
	refused int
	waiting []int // not tried yet
	called  bool
	stop    *deleter.Answer // set: make no further call, this would be its answer too
}

// If more than one in denseShare requests is refused, halves are tried one by one.
const denseShare = 8

// run answers n requests.
func (b *bisection) run(requests int) []callResult {
	b.results = make([]callResult, requests)
	for i := range requests {
		b.waiting = append(b.waiting, i)
	}
	for len(b.waiting) > 0 {
		set := b.waiting
		b.waiting = nil
		b.split(set, false)
	}
	return b.results
}

// split answers the requests of set, or lets some of them wait, and reports whether all
// were deleted. someRefused is true if at least one of them must be refused.
//
// A status that is not documented may depend on how many requests the call is made for.
// Then the answer to one half says nothing about the other, and each is tried.
func (b *bisection) split(set []int, someRefused bool) (allDeleted bool) {
	if len(set) == 0 {
		return true
	}
	if b.stop == nil && b.called && b.halted() {
		b.stop = &deleter.Answer{}
	}
	if b.stop != nil {
		for _, i := range set { // they get no further call in this batch
			b.results[i].unanswered = true
			b.results[i].answer = *b.stop
			b.results[i].answer.MayHaveDeleted = false
		}
		return false
	}
	documented := true
	if !someRefused || len(set) == 1 {
		var done bool
		if set, documented, allDeleted, done = b.call(set); done {
			return allDeleted
		}
	}
	left, right := set[:len(set)/2], set[len(set)/2:]
	switch {
	case !documented:
		b.split(left, false)
		b.split(right, false)
	case b.split(left, false):
		b.split(right, true)
	case b.refused*denseShare > len(b.results):
		b.split(right, false)
	default:
		b.waiting = append(b.waiting, right...)
	}
	return false
}

// call makes a call for set. done is true if each request has its answer. Otherwise
// the answer refuses some of the undecided requests without naming them; documented
// says whether its status is a documented one.
func (b *bisection) call(set []int) (undecided []int, documented, allDeleted, done bool) {
	b.called = true
	answer, called := b.try(set)
	for _, i := range set {
		if !slices.Contains(called, i) {
			b.results[i].retry = true
		}
	}
	answer.Requests = len(called)
	for _, i := range called {
		b.results[i].calls++
	}
	documented = answer.Verdict != deleter.Retry
	if !answer.Divisible() || len(called) <= 1 {
		for _, i := range called {
			b.results[i].answer = answer
			if answer.Divisible() {
				b.refused++
			}
		}
		if !answer.Divisible() && (answer.Verdict == deleter.CredentialRefused || answer.Verdict == deleter.Retry) {
			b.stop = &answer
		}
		return nil, documented, answer.Verdict == deleter.Deleted && len(called) == len(set), true
	}

	var rest []int
	for _, i := range called {
		ids := b.refusedOf(i, answer)
		if len(ids) == 0 {
			rest = append(rest, i)
			continue
		}
		b.refused++
		b.results[i].answer = answer
		b.results[i].answer.Refused = ids
	}
	switch {
	case answer.Status == http.StatusOK || answer.Status == http.StatusPartialContent:
		for _, i := range rest { // what is not refused is deleted
			b.results[i].answer = answer
			b.results[i].answer.Verdict, b.results[i].answer.Refused = deleter.Deleted, nil
		}
		return nil, documented, false, true
	case len(rest) < len(called): // nothing is deleted yet
		b.split(rest, false)
		return nil, documented, false, true
	}
	return rest, documented, false, false
}
