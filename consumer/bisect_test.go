package consumer

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/lethe-dev/lethe/deleter"
)

// manyAPI is an API that takes many requests in a call and refuses some of them. It counts
// what it did.
type manyAPI struct {
	bad       []bool
	names     bool           // its refusal names the refused requests
	partial   bool           // it deletes the others at once
	odd       int            // the undocumented status that it refuses with, 0 for none
	most      int            // the most requests that it takes in one call, 0 for any number
	failing   int            // the number of the call, from 1, that fails for all requests
	with      deleter.Answer // the answer to that call
	calls     int
	failedFor []int // the requests of that call
	deleted   []int // how often each request was deleted
}

func (a *manyAPI) bisection() *bisection {
	a.deleted = make([]int, len(a.bad))
	return &bisection{try: a.try, halted: func() bool { return false }, refusedOf: func(i int, answer deleter.Answer) []int64 {
		if slices.Contains(answer.Refused, int64(i)) {
			return []int64{int64(i)}
		}
		return nil
	}}
}

func (a *manyAPI) try(set []int) (deleter.Answer, []int) {
	a.calls++
	if a.calls == a.failing {
		a.failedFor = slices.Clone(set)
		return a.with, set
	}
	if a.most > 0 && len(set) > a.most {
		return deleter.Answer{Verdict: deleter.Retry, Status: 413, UnknownStatus: true}, set
	}
	var refused []int64
	for _, i := range set {
		if a.bad[i] {
			refused = append(refused, int64(i))
		}
	}
	answer := deleter.Answer{Verdict: deleter.Invalid, Status: 422}
	if a.odd > 0 && len(refused) > 0 {
		return deleter.Answer{Verdict: deleter.Retry, Status: a.odd, UnknownStatus: true}, set
	}
	if a.names {
		answer.Refused = refused
	}
	if len(refused) == 0 {
		answer = answerDeleted
	}
	if len(refused) > 0 && a.partial {
		answer.Status, answer.Refused = 206, refused
	}
	if len(refused) == 0 || a.partial {
		for _, i := range set {
			if !a.bad[i] {
				a.deleted[i]++
			}
		}
	}
	return answer, set
}

func TestEveryRequestOfACallGetsItsOwnAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &manyAPI{
			bad:     rapid.SliceOfN(rapid.Bool(), 1, 100).Draw(t, "bad"),
			names:   rapid.Bool().Draw(t, "names"),
			partial: rapid.Bool().Draw(t, "partial"),
		}
		if rapid.Bool().Draw(t, "few") { // the usual case
			for i := range a.bad {
				a.bad[i] = a.bad[i] && i%17 == 0
			}
		}
		if rapid.Bool().Draw(t, "fails") {
			a.failing = rapid.IntRange(1, 20).Draw(t, "failing")
			a.with = rapid.SampledFrom([]deleter.Answer{answerLost, answerUnauthorized, answerForbidden, answerBusy}).Draw(t, "with")
		}
		a.odd = rapid.SampledFrom([]int{0, 0, 409, 410, 413}).Draw(t, "odd")
		a.most = rapid.SampledFrom([]int{0, 0, 1, 2, 5}).Draw(t, "most")
		for i, s := range a.bisection().run(len(a.bad)) {
			own := a.bad[i] && a.odd > 0 && s.answer.Status == a.odd && !s.unanswered
			switch {
			case s.retry || s.calls == 0 || s.answer.Requests == 0:
				t.Fatalf("request %d has no answer: %+v", i, s)
			case own && s.answer.Requests != 1:
				t.Fatalf("request %d has the undocumented answer to a call for %d", i, s.answer.Requests)
			case own:
			case s.answer.Verdict == deleter.Retry || s.answer.Verdict == deleter.CredentialRefused:
				if a.failing == 0 || a.failing > a.calls {
					t.Fatalf("request %d has no answer", i)
				}
				if a.deleted[i] > 0 {
					t.Fatalf("request %d is deleted and was answered %s", i, s.answer.Verdict)
				}
				if in := slices.Contains(a.failedFor, i); s.unanswered == in || s.answer.MayHaveDeleted != (in && a.with.MayHaveDeleted) {
					t.Fatalf("request %d, in the failing call %v, was answered %+v", i, in, s)
				}
			case a.bad[i] != (s.answer.Verdict == deleter.Invalid) || !a.bad[i] != (s.answer.Verdict == deleter.Deleted):
				t.Fatalf("request %d, which the API refuses: %v, was answered %s", i, a.bad[i], s.answer.Verdict)
			case s.answer.Verdict == deleter.Deleted && a.deleted[i] != 1:
				t.Fatalf("request %d was deleted %d times", i, a.deleted[i])
			}
		}
	})
}

// The first call, which is refused, and at most 2·k·log2(n) more.
func TestBisectionTakesFewCalls(t *testing.T) {
	check := func(bad []bool) {
		t.Helper()
		k := 0
		for _, b := range bad {
			if b {
				k++
			}
		}
		a := &manyAPI{bad: bad}
		a.bisection().run(len(bad))
		if most := 1 + 2*float64(k)*math.Log2(float64(len(bad))); float64(a.calls) > most {
			t.Errorf("%d calls for %d refused of %d, want at most %.1f: %v", a.calls, k, len(bad), most, bad)
		}
	}
	for n := 2; n <= 100; n++ {
		for at := range n { // the only one
			bad := make([]bool, n)
			bad[at] = true
			check(bad)
		}
	}
	for n := 2; n <= 14; n++ { // and every pattern
		for pattern := 1; pattern < 1<<n; pattern++ {
			bad := make([]bool, n)
			for i := range bad {
				bad[i] = pattern&(1<<i) != 0
			}
			check(bad)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		bad := rapid.SliceOfN(rapid.Bool(), 15, 100).Draw(r, "bad")
		every := rapid.IntRange(1, 40).Draw(r, "every")
		for i := range bad {
			bad[i] = bad[i] && i%every == 0
		}
		if slices.Contains(bad, true) {
			check(bad)
		}
	})
	for _, k := range []int{1, 2, 5, 20, 100} {
		bad := make([]bool, 100)
		for i := range k {
			bad[i*100/k] = true
		}
		a := &manyAPI{bad: bad}
		a.bisection().run(100)
		t.Logf("%3d refused of 100: %3d calls", k, a.calls)
	}
}

// Such an answer is about the lane, so the next call would fail too.
func TestARefusedCredentialOrAFailureEndsBisection(t *testing.T) {
	for name, with := range map[string]deleter.Answer{"lost": answerLost, "busy": answerBusy, "401": answerUnauthorized, "403": answerForbidden} {
		for failing := 1; failing <= 4; failing++ {
			a := &manyAPI{bad: []bool{true, false, false, true, false, true, true, false}, failing: failing, with: with}
			a.bisection().run(len(a.bad))
			if a.calls != failing {
				t.Errorf("%s: %d calls, the last of which should be number %d", name, a.calls, failing)
			}
		}
	}
	a := &manyAPI{bad: []bool{true, false, true, false}}
	n := a.bisection()
	n.halted = func() bool { return a.calls == 2 }
	for i, s := range n.run(4) {
		if a.calls != 2 || !s.unanswered && s.answer.Requests != 1 && s.answer.Verdict != deleter.Deleted {
			t.Errorf("request %d after %d calls: %+v", i, a.calls, s)
		}
	}
}

func TestALimitOnTheNumberOfRequestsIsFoundInFewCalls(t *testing.T) {
	for most := 1; most <= 100; most++ {
		a := &manyAPI{bad: make([]bool, 100), most: most}
		a.bisection().run(100)
		if calls := 4*100/most + 1; a.calls > calls {
			t.Errorf("%d calls for at most %d requests each, want at most %d", a.calls, most, calls)
		}
	}
}

func TestARefusalThatNamesIDsNeedsOneMoreCall(t *testing.T) {
	a := &manyAPI{bad: []bool{false, true, false, false, true}, names: true}
	a.bisection().run(5)
	if a.calls != 2 {
		t.Errorf("%d calls", a.calls)
	}
}
