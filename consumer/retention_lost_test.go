package consumer

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

// shortAge is shorter than settings allow, so that a test sees records expire.
const shortAge = 200 * time.Millisecond

// setResultsMaxAge sets max_age of the results stream.
func (env *environment) setResultsMaxAge(age time.Duration) {
	env.Helper()
	config := env.stream(events.StreamResults)
	config.MaxAge = age
	if config.Duplicates > age && age > 0 {
		config.Duplicates = age
	}
	if _, err := env.js.UpdateStream(env.Context(), config); err != nil {
		env.Fatal(err)
	}
}

// waitUntilExpired waits until no record is left.
func (env *environment) waitUntilExpired() {
	env.Helper()
	env.until("no record is left", func() bool {
		s, err := env.js.Stream(env.Context(), events.StreamResults)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
}

// recreateResults deletes the results stream and creates it again.
func (env *environment) recreateResults() {
	env.Helper()
	config := env.stream(events.StreamResults)
	if err := env.js.DeleteStream(env.Context(), config.Name); err != nil {
		env.Fatal(err)
	}
	env.until("the server has removed the files of the deleted stream", func() bool {
		_, err := env.js.CreateStream(env.Context(), config)
		return err == nil
	})
}

// deliverOnce fetches the waiting Sensay request once without processing it.
func (env *environment) deliverOnce() {
	env.Helper()
	consumer, err := env.js.Consumer(env.Context(), events.StreamRequests, string(sensayTarget))
	if err != nil {
		env.Fatal(err)
	}
	batch, err := consumer.Fetch(1)
	if err != nil {
		env.Fatal(err)
	}
	for m := range batch.Messages() {
		if err := m.Nak(); err != nil {
			env.Fatal(err)
		}
	}
}

// The records of an earlier worker may have expired. With an age as short as the tolerance
// each message is older than that at once.
func TestARequestOlderThanTheStreamKeepsRecords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// before runs before a worker starts.
		before  func(env *environment)
		mayHave bool
	}{
		{"delivered before, and older than results are stored", func(env *environment) {
			env.deliverOnce()
			env.setResultsMaxAge(ledger.ClockTolerance)
		}, true},
		{"delivered before, and younger than results are stored", func(env *environment) {
			env.deliverOnce()
		}, false},
		{"delivered before, results are stored forever", func(env *environment) {
			env.deliverOnce()
			env.setResultsMaxAge(0)
		}, false},
		{"never delivered, though older than results are stored", func(env *environment) {
			env.setResultsMaxAge(ledger.ClockTolerance)
		}, false},
		{"older than its consumer, and than results are stored", func(env *environment) {
			if err := streams.Redeliver(env.Context(), env.js, []*streams.Problem{{Stream: events.StreamRequests, Consumer: string(sensayTarget)}}); err != nil {
				env.Fatal(err)
			}
			env.setResultsMaxAge(ledger.ClockTolerance)
		}, true},
		{"older than its consumer alone", func(env *environment) {
			if err := streams.Redeliver(env.Context(), env.js, []*streams.Problem{{Stream: events.StreamRequests, Consumer: string(sensayTarget)}}); err != nil {
				env.Fatal(err)
			}
		}, false},
		{"delivered before, and older than the results stream", func(env *environment) {
			env.deliverOnce()
			env.recreateResults()
		}, true},
		{"never delivered, though older than the results stream", func(env *environment) {
			env.recreateResults()
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newEnvironment(t)
			r := entry(7)
			env.publish(r)
			c.before(env)
			env.run(env.config(sensayTarget, answering(answerNotFound)))
			var got events.Result
			env.until("there is a final result", func() bool { // it may expire again
				for _, r := range env.results("deletions.results.>") {
					got = r
				}
				return got.Outcome.Final()
			})
			want := events.NotFound
			if c.mayHave {
				want = events.Deleted
			}
			if got.Outcome != want || got.Evidence.AfterUnansweredAttempt != c.mayHave {
				t.Errorf("%s, %+v; want %s", got.Outcome, got.Evidence, want)
			}
		})
	}
}

// A due step always had records. If they are gone, it gets its result all the same, and never
// as if there had been no call.
func TestAStepWithoutItsRecordsMayHaveDeleted(t *testing.T) {
	t.Parallel()
	for _, target := range events.Targets() {
		for _, first := range []deleter.Answer{answerBusy, answerPending, answerUnauthorized} {
			for how, lose := range map[string]func(*environment){
				"expired": func(env *environment) {
					env.setResultsMaxAge(shortAge)
					env.waitUntilExpired()
					env.setResultsMaxAge(720 * time.Hour)
				},
				"a new stream": (*environment).recreateResults,
			} {
				t.Run(fmt.Sprintf("%s, %d, %s", target, first.Status, how), func(t *testing.T) {
					env := newEnvironment(t)
					r := entry(7)
					if target == kvTarget {
						r = contexts(7)
					}
					first.RetryAfter = time.Second
					c := env.config(target, answering(first, answerNotFound))
					c.Rules.Retry.MaxInterval, c.Rules.ConfirmAfter = time.Second, time.Second
					_, stop := env.run(c)
					env.publish(r)
					env.waiting()
					stop()
					lose(env)
					env.run(c)
					got := env.final(target, r.ID)
					if got.Outcome != events.Deleted || got.Attempts != 2 {
						t.Errorf("%s after %d attempts", got.Outcome, got.Attempts)
					}
					if ours := got.Evidence.AfterUnansweredAttempt; ours != (first.Verdict != deleter.AcceptedPending) {
						t.Errorf("after_unanswered_attempt is %v", ours)
					}
					env.settled()
				})
			}
		}
	}
}

// The results stream was deleted, created again by setup, and the same request
// published again: what is due knows a record that is not in the new stream.
func TestAStepWithoutItsRecordsFindsThoseOfARepeat(t *testing.T) {
	env := newEnvironment(t)
	r := entry(7)
	c := env.config(sensayTarget, answering(answerBusy, answerNotFound))
	c.Rules.Retry.MaxInterval = time.Second
	l, stop := env.run(c)
	env.publish(r)
	env.waiting()
	stop()
	before := env.messages(events.StreamResults, ">")
	if err := env.js.DeleteStream(t.Context(), events.StreamResults); err != nil {
		t.Fatal(err)
	}
	if err := streams.Setup(t.Context(), env.js, settings); err != nil {
		t.Fatal(err)
	}
	repeat := l.ledger.NewAttempt(t.Context(), r.ID, before[0].Header.Get("Lethe-Fingerprint"), ledger.Progress{Attempts: 1}, 0)
	if err := l.ledger.Append(t.Context(), repeat); err != nil {
		t.Fatal(err)
	}
	env.run(c)
	if got := env.final(sensayTarget, r.ID); got.Outcome != events.Deleted || !got.Evidence.AfterUnansweredAttempt {
		t.Errorf("%s, %+v", got.Outcome, got.Evidence)
	}
}

// A step that waits for another worker's lease knows no record yet.
func TestAStepThatNeverHadARecordFindsNone(t *testing.T) {
	env := newEnvironment(t)
	r := entry(7)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	l := New(env.js, env.config(sensayTarget, answering(answerNotFound)))
	if err := l.ledger.Schedule(t.Context(), r.ID, &nats.Msg{Data: body}, ledger.Progress{RequestSeq: 1}, time.Now()); err != nil {
		t.Fatal(err)
	}
	env.run(l.config)
	if got := env.final(sensayTarget, r.ID); got.Outcome != events.Deleted || !got.Evidence.AfterUnansweredAttempt {
		t.Errorf("%s, %+v", got.Outcome, got.Evidence)
	}
}

// A replay waits while the failed result that it names expires.
func TestAReplayWithoutItsFailedResultMayHaveDeleted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		expire bool
		want   events.Outcome
	}{
		{"it expired", true, events.Deleted},
		{"it never existed", false, events.NotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newEnvironment(t)
			r := entry(7)
			body, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if c.expire {
				env.publishForeign(events.ResultSubject(sensayTarget, r.ID, events.Failed), "{}", nil)
				env.setResultsMaxAge(shortAge)
				env.waitUntilExpired()
				env.setResultsMaxAge(720 * time.Hour)
			}
			env.publishRaw(sensayTarget, body, nats.Header{"Lethe-Expected": {"1"}})
			env.run(env.config(sensayTarget, answering(answerNotFound)))
			if got := env.final(sensayTarget, r.ID); got.Outcome != c.want {
				t.Errorf("%s, want %s", got.Outcome, c.want)
			}
			env.settled()
		})
	}
}

// blockedRetry is a ledger that asks the server once may is closed.
type blockedRetry struct {
	requestLedger
	asks, may chan struct{}
}

func (s blockedRetry) Retry(context.Context, string, func(context.Context) error) error {
	close(s.asks)
	<-s.may
	return nil
}

// A fetch reads each message as it arrives. Another request that has to ask the server must
// not delay it.
func TestAMessageIsReadWhileAnotherAsksForTheRetention(t *testing.T) {
	env := newEnvironment(t)
	l := New(env.js, env.config(sensayTarget, nil))
	slow := blockedRetry{l.ledger, make(chan struct{}), make(chan struct{})}
	l.ledger = slow
	d, _ := env.delivered(0)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer close(slow.may)
	asking.Go(func() {
		if _, err := l.mayHaveLostRecords(t.Context(), d, 0); err != nil {
			t.Error(err)
		}
	})
	<-slow.asks
	read := make(chan bool)
	go func() {
		old := l.needsRetention(d)
		select {
		case read <- old:
		case <-t.Context().Done():
		}
	}()
	select {
	case old := <-read:
		if !old {
			t.Error("the message counts as recent before the retention is known")
		}
	case <-time.After(patience):
		t.Error("it waits for the other request")
	}
}
