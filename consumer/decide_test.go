package consumer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

var (
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	plain = Rules{
		ConfirmAfter: 24 * time.Hour,
		Retry:        Policy{InitialInterval: time.Second, Multiplier: 2, MaxInterval: 15 * time.Minute, MaxElapsed: 24 * time.Hour},
	}
)

// The contract's sections 5 and 7, row by row.
func TestDecide(t *testing.T) {
	first := History{Attempts: 1, Since: noon, Seq: 7, Arrival: 3}
	nth := func(n int) History { h := first; h.Attempts = n; return h }
	unanswered := first
	unanswered.Attempts, unanswered.Unanswered = 2, true
	confirming := first
	confirming.Attempts, confirming.Confirming = 2, true
	old := first
	old.Since = noon.Add(-24 * time.Hour)
	oldConfirming := confirming
	oldConfirming.Since = noon.Add(-24 * time.Hour)

	type want struct {
		outcome events.Outcome
		code    events.Code
		ours    bool          // after_unanswered_attempt
		again   time.Duration // from now, 0 for never
		history History       // of the next call, where there is one
	}
	answer := func(v deleter.Verdict) deleter.Answer {
		return deleter.Answer{Verdict: v, Status: 299, Message: "said", ObservedAt: noon, CallID: "c"}
	}
	unknown := answer(deleter.Retry)
	unknown.UnknownStatus = true
	mayHave := answer(deleter.Retry)
	mayHave.MayHaveDeleted = true
	patient := answer(deleter.Retry)
	patient.RetryAfter = 10 * time.Second
	tooPatient := answer(deleter.Retry)
	tooPatient.RetryAfter = 10 * 365 * 24 * time.Hour

	with := func(h History, change func(*History)) History { change(&h); return h }

	for _, c := range []struct {
		name    string
		history History
		answer  deleter.Answer
		want    want
	}{
		{"deleted is deleted", first, answer(deleter.Deleted), want{outcome: events.Deleted}},
		{"not found at the first attempt is not-found", first, answer(deleter.NotFound), want{outcome: events.NotFound}},
		{"not found after an unanswered attempt may have been ours", unanswered, answer(deleter.NotFound), want{outcome: events.Deleted, ours: true}},
		{"deleted after an unanswered attempt is simply deleted", unanswered, answer(deleter.Deleted), want{outcome: events.Deleted}},
		{"accepted for later is pending and confirmed when due", first, answer(deleter.AcceptedPending), want{
			outcome: events.AcceptedPending, again: 24 * time.Hour,
			history: with(first, func(h *History) { h.Confirming, h.Since = true, noon.Add(24*time.Hour) })}},
		{"not found at the confirmation is deleted", confirming, answer(deleter.NotFound), want{outcome: events.Deleted}},
		{"deleted at the confirmation is deleted", confirming, answer(deleter.Deleted), want{outcome: events.Deleted}},
		{"pending again at the confirmation waits once more without a second result", confirming, answer(deleter.AcceptedPending),
			want{again: 24 * time.Hour, history: confirming}},
		{"pending for too long after the confirmation was due has failed", oldConfirming, answer(deleter.AcceptedPending),
			want{outcome: events.Failed, code: events.CodeRetriesExhausted}},
		{"refused at the confirmation is unexpected", confirming, answer(deleter.Invalid), want{outcome: events.Failed, code: events.CodeUnexpectedAnswer}},
		{"refused is invalid", first, answer(deleter.Invalid), want{outcome: events.Invalid, code: events.CodeRejectedByAPI}},
		{"a wrong credential fails nothing and stops the time", old, answer(deleter.Hold),
			want{again: time.Second, history: with(old, func(h *History) { h.Since = time.Time{} })}},
		{"a credential that cannot be read makes no call", first, deleter.Answer{Verdict: deleter.Hold},
			want{again: time.Second, history: with(first, func(h *History) { h.Since, h.Attempts = time.Time{}, 0 })}},
		{"trouble is tried again after the backoff", first, answer(deleter.Retry), want{again: time.Second, history: first}},
		{"the backoff grows", nth(4), answer(deleter.Retry), want{again: 8 * time.Second, history: nth(4)}},
		{"the backoff has a longest interval", nth(50), answer(deleter.Retry), want{again: 15 * time.Minute, history: nth(50)}},
		{"the API's own wish is the least wait", first, patient, want{again: 10 * time.Second, history: first}},
		{"ten years are cut to the longest interval", first, tooPatient, want{again: 15 * time.Minute, history: first}},
		{"trouble after which nobody knows is remembered", first, mayHave,
			want{again: time.Second, history: with(first, func(h *History) { h.Unanswered = true })}},
		{"what may have been deleted stays so", unanswered, answer(deleter.Retry), want{again: 2 * time.Second, history: unanswered}},
		{"trouble for too long has failed", old, answer(deleter.Retry), want{outcome: events.Failed, code: events.CodeRetriesExhausted}},
		{"trouble at a confirmation is tried again", confirming, answer(deleter.Retry), want{again: 2 * time.Second, history: confirming}},
		{"any other answer has failed", first, unknown, want{outcome: events.Failed, code: events.CodeUnexpectedAnswer}},
		{"a verdict that nobody knows has failed", first, answer("what"), want{outcome: events.Failed, code: events.CodeUnexpectedAnswer}},
	} {
		t.Run(c.name, func(t *testing.T) {
			step := Decide(plain, c.history, c.answer, noon)
			got := want{outcome: step.Outcome, ours: step.Evidence.AfterUnansweredAttempt, history: step.History}
			if step.Error != nil {
				got.code = step.Error.Code
			}
			if !step.Again.IsZero() {
				got.again = step.Again.Sub(noon)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("step (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever the history and the answer, a step obeys the promises.
func TestDecideKeepsThePromises(t *testing.T) {
	verdicts := []deleter.Verdict{
		deleter.Deleted, deleter.AcceptedPending, deleter.NotFound, deleter.Invalid, deleter.Hold, deleter.Retry,
	}
	rapid.Check(t, func(t *rapid.T) {
		h := History{
			Attempts:   rapid.IntRange(1, 200).Draw(t, "attempts"),
			Since:      noon.Add(-time.Duration(rapid.Int64Range(-int64(time.Hour), int64(48*time.Hour)).Draw(t, "since"))),
			Unanswered: rapid.Bool().Draw(t, "unanswered"),
			Confirming: rapid.Bool().Draw(t, "confirming"),
		}
		a := deleter.Answer{
			Verdict:        rapid.SampledFrom(verdicts).Draw(t, "verdict"),
			MayHaveDeleted: rapid.Bool().Draw(t, "may have deleted"),
			UnknownStatus:  rapid.Bool().Draw(t, "unknown status"),
			RetryAfter:     time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "retry after")),
			Status:         200, ObservedAt: noon,
		}
		s := Decide(plain, h, a, noon)

		if s.Outcome == "" && s.Again.IsZero() {
			t.Fatal("the request would be lost: no result and no next call")
		}
		if s.Outcome.Final() && !s.Again.IsZero() {
			t.Fatal("a call would follow a final result")
		}
		if s.Outcome == events.Deleted && a.Verdict != deleter.Deleted && a.Verdict != deleter.NotFound {
			t.Fatalf("deleted was guessed from %s", a.Verdict)
		}
		if s.Outcome == events.NotFound && (a.Verdict != deleter.NotFound || h.Unanswered || h.Confirming) {
			t.Fatalf("not-found was said of what may have been ours")
		}
		if a.Verdict == deleter.Hold && s.Outcome != "" {
			t.Fatalf("a wrong credential gave a result")
		}
		if !s.Again.IsZero() && (h.Unanswered && !s.History.Unanswered || s.History.Attempts != h.Attempts && a.Status != 0) {
			t.Fatal("the next call would know less than this one")
		}
		if !s.Again.IsZero() && s.Again.Before(noon) {
			t.Fatal("the next call is in the past")
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	h := History{Attempts: 3, Since: noon}
	a := deleter.Answer{Verdict: deleter.Retry, Status: 503}
	b.ReportAllocs()
	for b.Loop() {
		if s := Decide(plain, h, a, noon); s.Again.IsZero() {
			b.Fatal("no retry")
		}
	}
}
