package consumer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

var (
	noon      = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	testRules = Rules{
		ConfirmAfter: 24 * time.Hour,
		Retry:        Policy{InitialInterval: time.Second, Multiplier: 2, MaxInterval: 15 * time.Minute, MaxElapsed: 24 * time.Hour},
	}
)

// The contract's sections 5 and 7, row by row. The whole step is compared.
func TestDecide(t *testing.T) {
	const (
		took = 3 * time.Second
		most = 24 * time.Hour // MaxElapsed and ConfirmAfter of testRules
	)
	first := ledger.Progress{Attempts: 1, FirstAttempt: noon.Add(-time.Hour), Seq: 7, RequestSeq: 3}
	with := func(h ledger.Progress, changes ...func(*ledger.Progress)) ledger.Progress {
		for _, change := range changes {
			change(&h)
		}
		return h
	}
	waits := func(n int) func(*ledger.Progress) { return func(h *ledger.Progress) { h.Attempts, h.Waits = 100, n } }
	elapsed := func(d time.Duration) func(*ledger.Progress) { return func(h *ledger.Progress) { h.Elapsed = d } }
	undocumented := func(d time.Duration) func(*ledger.Progress) { return func(h *ledger.Progress) { h.Undocumented = d } }
	refused := func(at time.Time, wait time.Duration) func(*ledger.Progress) {
		return func(h *ledger.Progress) { h.Refused, h.RefusedWait = at, wait }
	}
	alone := func(h *ledger.Progress) { h.Alone = true }
	unanswered := func(h *ledger.Progress) { h.MayHaveDeleted = true }
	confirming := func(h *ledger.Progress) { h.AwaitingRemoval, h.FirstAttempt = true, noon.Add(-2*most) }

	answer := func(v deleter.Verdict, changes ...func(*deleter.Answer)) deleter.Answer {
		a := deleter.Answer{
			Verdict: v, Status: 299, Message: "the text", APIRequestID: "r", ObservedAt: noon, CallID: "c", Requests: 1, Duration: took,
		}
		for _, change := range changes {
			change(&a)
		}
		return a
	}
	status := func(n int) func(*deleter.Answer) { return func(a *deleter.Answer) { a.Status = n } }
	shared := func(a *deleter.Answer) { a.Requests = 9 }
	unknown := func(a *deleter.Answer) { a.Status, a.UnknownStatus = 410, true }
	after := func(d time.Duration) func(*deleter.Answer) { return func(a *deleter.Answer) { a.RetryAfter = d } }

	again := func(wait time.Duration, h ledger.Progress) nextStep {
		h.Waits++
		return nextStep{nextCallAt: noon.Add(wait), progress: h}
	}
	result := func(o events.Outcome, a deleter.Answer, e *events.ResultError) nextStep {
		return nextStep{outcome: o, resultError: e, evidence: events.Evidence{
			Status: a.Status, Message: a.Message, APIRequestID: a.APIRequestID, ObservedAt: noon, CallID: "c", CallRequests: max(a.Requests, 1),
		}}
	}
	failed := func(a deleter.Answer, code events.Code, message string) nextStep {
		return result(events.Failed, a, &events.ResultError{Code: code, Message: message})
	}
	ours := result(events.Deleted, answer(deleter.NotFound), nil)
	ours.evidence.AfterUnansweredAttempt = true
	pending := answer(deleter.AcceptedPending, func(a *deleter.Answer) { a.ExpectedBy = noon.Add(time.Minute) })
	accepted := result(events.AcceptedPending, pending, nil)
	accepted.expectedBy, accepted.nextCallAt = noon.Add(time.Minute), noon.Add(most)
	accepted.progress = with(first, func(h *ledger.Progress) { h.AwaitingRemoval, h.FirstAttempt = true, noon.Add(most) })
	listed := answer(deleter.Invalid, shared, func(a *deleter.Answer) { a.Refused = []int64{5} })
	before := noon.Add(-time.Minute) // of an earlier refusal

	for _, c := range []struct {
		name     string
		progress ledger.Progress
		answer   deleter.Answer
		accepted time.Time
		want     nextStep
	}{
		{"deleted is deleted", first, answer(deleter.Deleted), noon, result(events.Deleted, answer(deleter.Deleted), nil)},
		{"deleted with others is deleted", first, answer(deleter.Deleted, shared), noon, result(events.Deleted, answer(deleter.Deleted, shared), nil)},
		{"not found at the first attempt is not-found", first, answer(deleter.NotFound), noon, result(events.NotFound, answer(deleter.NotFound), nil)},
		{"not found after an unanswered attempt is deleted", with(first, unanswered), answer(deleter.NotFound), noon, ours},
		{"deleted after an unanswered attempt is deleted without that note", with(first, unanswered), answer(deleter.Deleted), noon,
			result(events.Deleted, answer(deleter.Deleted), nil)},
		{"accepted for later is pending and confirmed when due", with(first, elapsed(time.Hour), undocumented(time.Hour)), pending, noon, accepted},
		{"not found at the confirmation is deleted", with(first, confirming), answer(deleter.NotFound), noon,
			result(events.Deleted, answer(deleter.NotFound), nil)},
		{"deleted at the confirmation is deleted", with(first, confirming), answer(deleter.Deleted), noon,
			result(events.Deleted, answer(deleter.Deleted), nil)},
		{"pending again at the confirmation waits once more without a second result, however late the confirmation was", with(first, confirming), pending, noon,
			again(most, with(first, confirming, elapsed(most)))},
		{"pending for too long after the confirmation was due has failed", with(first, confirming, elapsed(most)), pending, noon,
			failed(pending, events.CodeRetriesExhausted, "given up after 1 attempt in 24h0m0s without a confirmation of the deletion that the API had accepted: the text")},
		{"failures beyond the allowed time of a confirmation end the request", with(first, confirming, elapsed(most-took)), answer(deleter.Retry), noon,
			failed(answer(deleter.Retry), events.CodeRetriesExhausted, "given up after 1 attempt in 24h0m0s without a confirmation of the deletion that the API had accepted: the text")},
		{"a refusal at the confirmation is unexpected", with(first, confirming), answer(deleter.Invalid), noon,
			failed(answer(deleter.Invalid), events.CodeUnexpectedAnswer, "the API refused the confirmation of a deletion that it had accepted: the text")},
		{"refused is invalid", first, listed, noon,
			result(events.Invalid, listed, &events.ResultError{Code: events.CodeRejectedByAPI, Message: "the text", IDs: []int64{5}})},

		{"a failure is tried again after the backoff", first, answer(deleter.Retry), noon, again(time.Second, with(first, elapsed(took+time.Second)))},
		{"the delay of a late step does not count", with(first, func(h *ledger.Progress) { h.FirstAttempt = noon.Add(-100 * most) }), answer(deleter.Retry), noon,
			again(time.Second, with(first, elapsed(took+time.Second), func(h *ledger.Progress) { h.FirstAttempt = noon.Add(-100 * most) }))},
		{"the backoff grows", with(first, waits(3)), answer(deleter.Retry), noon, again(8*time.Second, with(first, waits(3), elapsed(took+8*time.Second)))},
		{"the backoff has a longest interval", with(first, waits(50)), answer(deleter.Retry), noon,
			again(15*time.Minute, with(first, waits(50), elapsed(took+15*time.Minute)))},
		{"a Retry-After is the shortest wait", first, answer(deleter.Retry, after(10*time.Second)), noon,
			again(10*time.Second, with(first, elapsed(took+10*time.Second)))},
		{"a Retry-After of ten years is cut to the longest interval", first, answer(deleter.Retry, after(10*365*24*time.Hour)), noon,
			again(15*time.Minute, with(first, elapsed(took+15*time.Minute)))},
		{"a failure that may have deleted is remembered", first, answer(deleter.Retry, func(a *deleter.Answer) { a.MayHaveDeleted = true }), noon,
			again(time.Second, with(first, unanswered, elapsed(took+time.Second)))},
		{"an attempt that may have deleted is never forgotten", with(first, unanswered), answer(deleter.Retry), noon,
			again(time.Second, with(first, unanswered, elapsed(took+time.Second)))},
		{"failures within the allowed time are tried again", with(first, elapsed(most-took-time.Second)), answer(deleter.Retry), noon,
			again(time.Second, with(first, elapsed(most)))},
		{"failures beyond the allowed time end the request", with(first, elapsed(most-took)), answer(deleter.Retry), noon,
			failed(answer(deleter.Retry), events.CodeRetriesExhausted, "given up after 1 attempt in 24h0m0s: the text")},
		{"a failure at a confirmation counts from its due time", with(first, confirming), answer(deleter.Retry), noon,
			again(time.Second, with(first, confirming, elapsed(took+time.Second)))},
		{"a failure of a shared call counts too", first, answer(deleter.Retry, shared), noon, again(time.Second, with(first, elapsed(took+time.Second)))},

		{"an undocumented status is tried again, alone", first, answer(deleter.Retry, unknown), noon,
			again(time.Second, with(first, alone, elapsed(took+time.Second), undocumented(took+time.Second)))},
		{"an undocumented status of a shared call says nothing about the request", with(first, elapsed(100*most), undocumented(time.Hour)),
			answer(deleter.Retry, unknown, shared), noon,
			again(time.Second, with(first, alone, elapsed(100*most+took+time.Second), undocumented(time.Hour)))},
		{"time of other failures does not count for an undocumented status", with(first, elapsed(100*most)), answer(deleter.Retry, unknown), noon,
			again(time.Second, with(first, alone, elapsed(100*most+took+time.Second), undocumented(took+time.Second)))},
		{"an undocumented status for too long has failed", with(first, alone, undocumented(most-took)), answer(deleter.Retry, unknown), noon,
			failed(answer(deleter.Retry, unknown), events.CodeUnexpectedAnswer, "given up after 1 attempt in 24h0m0s, the status is not documented: the text")},
		{"a known status with an undocumented body ends as exhausted retries", with(first, elapsed(most-took)), answer(deleter.Retry, status(404)), noon,
			failed(answer(deleter.Retry, status(404)), events.CodeRetriesExhausted, "given up after 1 attempt in 24h0m0s: the text")},

		{"a refused credential fails no request, and no time counts", with(first, elapsed(100*most)), answer(deleter.CredentialRefused), noon,
			again(time.Second, with(first, elapsed(100*most), refused(noon, took+time.Second)))},
		{"a credential that cannot be read makes no call", first, answer(deleter.CredentialRefused, status(0)), noon,
			again(time.Second, with(first, func(h *ledger.Progress) { h.FirstAttempt, h.Attempts = time.Time{}, 0 }))},
		{"a request refused in a shared call is called alone", first, answer(deleter.CredentialRefused, shared), noon, again(time.Second, with(first, alone))},
		{"refused again with no other request accepted, no time counts", with(first, elapsed(100*most), refused(before, most)), answer(deleter.CredentialRefused), time.Time{},
			again(time.Second, with(first, elapsed(100*most), refused(noon, took+time.Second)))},
		{"nor if the credential was accepted only before the refusal", with(first, elapsed(100*most), refused(before, most)), answer(deleter.CredentialRefused), before,
			again(time.Second, with(first, elapsed(100*most), refused(noon, took+time.Second)))},
		{"refused again while the credential is accepted, the wait counts", with(first, elapsed(time.Hour), refused(before, time.Hour)), answer(deleter.CredentialRefused), noon,
			again(time.Second, with(first, elapsed(2*time.Hour), refused(noon, took+time.Second)))},
		{"refused again for too long while the credential is accepted, it has failed", with(first, elapsed(time.Hour), refused(before, most-time.Hour)), answer(deleter.CredentialRefused), noon,
			failed(answer(deleter.CredentialRefused), events.CodeRefusedByAPI, "given up after 1 attempt in 24h0m0s, in which the API accepted the same credential for other requests: the text")},
		{"a failure leaves a refusal as it was", with(first, refused(before, time.Hour)), answer(deleter.Retry), noon,
			again(time.Second, with(first, elapsed(took+time.Second), refused(before, time.Hour)))},
		{"an accepted credential is no longer refused", with(first, refused(before, time.Hour)), pending, noon, accepted},

		{"an unknown verdict has failed", first, answer("what"), noon,
			failed(answer("what"), events.CodeUnexpectedAnswer, "the API's answer is not documented: the text")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, decide(testRules, c.progress, c.answer, c.accepted, noon), cmp.AllowUnexported(nextStep{})); diff != "" {
				t.Errorf("step (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARequestWithoutItsOwnAnswerIsCalledAloneAndNoTimeCounts(t *testing.T) {
	h := ledger.Progress{Attempts: 3, Elapsed: 100 * testRules.Retry.MaxElapsed}
	want := nextStep{nextCallAt: noon.Add(10 * time.Second), progress: h}
	want.progress.Alone, want.progress.Waits = true, 1
	got := decideUnanswered(testRules, h, deleter.Answer{Verdict: deleter.Retry, Status: 503, Duration: time.Hour, RetryAfter: 10 * time.Second}, noon)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(nextStep{})); diff != "" {
		t.Errorf("step (-want +got):\n%s", diff)
	}
}

// A step keeps the guarantees, whatever the progress and the answer are.
func TestDecideKeepsItsInvariants(t *testing.T) {
	verdicts := []deleter.Verdict{
		deleter.Deleted, deleter.AcceptedPending, deleter.NotFound, deleter.Invalid, deleter.CredentialRefused, deleter.Retry,
	}
	rapid.Check(t, func(t *rapid.T) {
		h := ledger.Progress{
			Attempts:        rapid.IntRange(1, 200).Draw(t, "attempts"),
			FirstAttempt:    noon.Add(-time.Duration(rapid.Int64Range(-int64(time.Hour), int64(48*time.Hour)).Draw(t, "since"))),
			MayHaveDeleted:  rapid.Bool().Draw(t, "unanswered"),
			AwaitingRemoval: rapid.Bool().Draw(t, "confirming"),
			Elapsed:         time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "elapsed")),
		}
		if rapid.Bool().Draw(t, "refused before") {
			h.Refused, h.RefusedWait = noon.Add(-time.Hour), 48*time.Hour
		}
		accepted := noon.Add(-time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "accepted")))
		a := deleter.Answer{
			Verdict:        rapid.SampledFrom(verdicts).Draw(t, "verdict"),
			MayHaveDeleted: rapid.Bool().Draw(t, "may have deleted"),
			UnknownStatus:  rapid.Bool().Draw(t, "unknown status"),
			RetryAfter:     time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "retry after")),
			Status:         200, ObservedAt: noon,
		}
		s := decide(testRules, h, a, accepted, noon)

		if s.outcome == "" && s.nextCallAt.IsZero() {
			t.Fatal("the request would be lost: no result and no next call")
		}
		if s.outcome.Final() && !s.nextCallAt.IsZero() {
			t.Fatal("a call would follow a final result")
		}
		if s.outcome == events.Deleted && a.Verdict != deleter.Deleted && a.Verdict != deleter.NotFound {
			t.Fatalf("deleted was decided from %s", a.Verdict)
		}
		if s.outcome == events.NotFound && (a.Verdict != deleter.NotFound || h.MayHaveDeleted || h.AwaitingRemoval) {
			t.Fatalf("not-found, though a call of Lethe may have deleted")
		}
		if a.Verdict == deleter.CredentialRefused && s.outcome != "" && !(accepted.After(h.Refused) && !h.Refused.IsZero()) {
			t.Fatalf("a refused credential led to a result")
		}
		if !s.nextCallAt.IsZero() && (h.MayHaveDeleted && !s.progress.MayHaveDeleted || s.progress.Attempts != h.Attempts && a.Status != 0) {
			t.Fatal("the next call would have less progress than this one")
		}
		if !s.nextCallAt.IsZero() && s.nextCallAt.Before(noon) {
			t.Fatal("the next call is in the past")
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	h := ledger.Progress{Attempts: 3, FirstAttempt: noon}
	a := deleter.Answer{Verdict: deleter.Retry, Status: 503}
	b.ReportAllocs()
	for b.Loop() {
		if s := decide(testRules, h, a, time.Time{}, noon); s.nextCallAt.IsZero() {
			b.Fatal("no retry")
		}
	}
}
