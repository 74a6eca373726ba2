package consumer

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

func TestAReplayAddsANewFinalResultOnlyAfterAFailure(t *testing.T) {
	for _, r := range []events.Request{contexts(10), entry(7)} {
		t.Run(string(r.Target()), func(t *testing.T) {
			w := newWorld(t)
			target := r.Target()
			api := script(answerBusy, answerDeleted)
			c := w.config(target, api)
			c.Rules.Retry.MaxElapsed = 0
			w.run(c)
			w.publish(r)
			w.final(target, r.ID)
			body, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			replay := func() {
				t.Helper()
				last, err := New(w.js, w.config(target, nil)).ledger.Last(t.Context(), r.ID)
				if err != nil {
					t.Fatal(err)
				}
				w.publishRaw(target, body, nats.Header{"Lethe-Expected": {fmt.Sprint(last.Seq)}})
				w.settled()
			}
			replay()
			replay() // of what is deleted now: nothing more happens
			var got []string
			for _, r := range w.results("deletions.results.>") {
				got = append(got, fmt.Sprint(r.Outcome, r.Attempts))
			}
			if diff := cmp.Diff([]string{"failed1", "deleted2"}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if api.count() != 2 {
				t.Errorf("%d calls", api.count())
			}
		})
	}
}

func TestAReplayKnowsThatTheLastAttemptMayHaveDeleted(t *testing.T) {
	w := newWorld(t)
	r := entry(7)
	c := w.config(r.Target(), script(answerLost, answerNotFound))
	c.Rules.Retry.MaxElapsed = 0
	w.run(c)
	w.publish(r)
	w.final(r.Target(), r.ID)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	last, err := New(w.js, w.config(r.Target(), nil)).ledger.Last(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.publishRaw(r.Target(), body, nats.Header{"Lethe-Expected": {fmt.Sprint(last.Seq)}})
	w.settled()
	got := w.final(r.Target(), r.ID)
	if got.Outcome != events.Deleted || !got.Evidence.AfterUnansweredAttempt {
		t.Errorf("the replay ends as %s, after an unanswered attempt: %t", got.Outcome, got.Evidence.AfterUnansweredAttempt)
	}
}
