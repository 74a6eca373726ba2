package consumer

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

func TestAReplayAddsANewFinalResultOnlyAfterAFailure(t *testing.T) {
	t.Parallel()
	for _, r := range []events.Request{contexts(10), entry(7)} {
		t.Run(string(r.Target()), func(t *testing.T) {
			env := newEnvironment(t)
			target := r.Target()
			api := answering(answerBusy, answerDeleted)
			c := env.config(target, api)
			c.Rules.Retry.MaxElapsed = 0
			env.run(c)
			env.publish(r)
			env.final(target, r.ID)
			body, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			replay := func() {
				t.Helper()
				last, err := New(env.js, env.config(target, nil)).ledger.Last(t.Context(), r.ID)
				if err != nil {
					t.Fatal(err)
				}
				env.publishRaw(target, body, nats.Header{"Lethe-Expected": {fmt.Sprint(last.Seq)}})
				env.settled()
			}
			replay()
			replay() // it is deleted now, so this changes nothing
			var got []string
			for _, r := range env.results("deletions.results.>") {
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
	env := newEnvironment(t)
	r := entry(7)
	c := env.config(r.Target(), answering(answerLost, answerNotFound))
	c.Rules.Retry.MaxElapsed = 0
	env.run(c)
	env.publish(r)
	env.final(r.Target(), r.ID)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	last, err := New(env.js, env.config(r.Target(), nil)).ledger.Last(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	env.publishRaw(r.Target(), body, nats.Header{"Lethe-Expected": {fmt.Sprint(last.Seq)}})
	env.settled()
	got := env.final(r.Target(), r.ID)
	if got.Outcome != events.Deleted || !got.Evidence.AfterUnansweredAttempt {
		t.Errorf("the replay ends as %s, after an unanswered attempt: %t", got.Outcome, got.Evidence.AfterUnansweredAttempt)
	}
}
