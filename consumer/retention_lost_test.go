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

// shortAge is an age that no setting allows, so that a test sees records go.
const shortAge = 200 * time.Millisecond

// keepResults sets the age of the results stream.
func (w *world) keepResults(age time.Duration) {
	w.Helper()
	config := w.stream(events.StreamResults)
	config.MaxAge = age
	if config.Duplicates > age && age > 0 {
		config.Duplicates = age
	}
	if _, err := w.js.UpdateStream(w.Context(), config); err != nil {
		w.Fatal(err)
	}
}

// gone waits until no record is left.
func (w *world) gone() {
	w.Helper()
	w.until("no record is left", func() bool {
		s, err := w.js.Stream(w.Context(), events.StreamResults)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
}

// newResults makes the results stream new, and empty.
func (w *world) newResults() {
	w.Helper()
	config := w.stream(events.StreamResults)
	if err := w.js.DeleteStream(w.Context(), config.Name); err != nil {
		w.Fatal(err)
	}
	if _, err := w.js.CreateStream(w.Context(), config); err != nil {
		w.Fatal(err)
	}
}

// deliverOnce fetches the waiting Sensay request once without processing it.
func (w *world) deliverOnce() {
	w.Helper()
	consumer, err := w.js.Consumer(w.Context(), events.StreamRequests, string(sensayTarget))
	if err != nil {
		w.Fatal(err)
	}
	batch, err := consumer.Fetch(1)
	if err != nil {
		w.Fatal(err)
	}
	for m := range batch.Messages() {
		if err := m.Nak(); err != nil {
			w.Fatal(err)
		}
	}
}

// What an earlier worker did is not in the ledger any more, or never was. An age as
// short as the tolerance makes each message old at once.
func TestARequestOlderThanTheStreamKeepsRecords(t *testing.T) {
	for _, c := range []struct {
		name string
		// before what a worker does that comes later
		before func(w *world)
		ours   bool
	}{
		{"delivered before, and older than results are stored", func(w *world) {
			w.deliverOnce()
			w.keepResults(ledger.ClockTolerance)
		}, true},
		{"delivered before, and younger than results are stored", func(w *world) {
			w.deliverOnce()
		}, false},
		{"delivered before, results are stored forever", func(w *world) {
			w.deliverOnce()
			w.keepResults(0)
		}, false},
		{"never delivered, though older than results are stored", func(w *world) {
			w.keepResults(ledger.ClockTolerance)
		}, false},
		{"older than its consumer, and than results are stored", func(w *world) {
			if err := streams.Redeliver(w.Context(), w.js, []*streams.Problem{{Stream: events.StreamRequests, Consumer: string(sensayTarget)}}); err != nil {
				w.Fatal(err)
			}
			w.keepResults(ledger.ClockTolerance)
		}, true},
		{"older than its consumer alone", func(w *world) {
			if err := streams.Redeliver(w.Context(), w.js, []*streams.Problem{{Stream: events.StreamRequests, Consumer: string(sensayTarget)}}); err != nil {
				w.Fatal(err)
			}
		}, false},
		{"delivered before, and older than the results stream", func(w *world) {
			w.deliverOnce()
			w.newResults()
		}, true},
		{"never delivered, though older than the results stream", func(w *world) {
			w.newResults()
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := entry(7)
			w.publish(r)
			c.before(w)
			w.run(w.config(sensayTarget, script(answerNotFound)))
			var got events.Result
			w.until("a final result", func() bool { // which may expire
				for _, r := range w.results("deletions.results.>") {
					got = r
				}
				return got.Outcome.Final()
			})
			want := events.NotFound
			if c.ours {
				want = events.Deleted
			}
			if got.Outcome != want || got.Evidence.AfterUnansweredAttempt != c.ours {
				t.Errorf("%s, %+v; want %s", got.Outcome, got.Evidence, want)
			}
		})
	}
}

// A due step was recorded. Where its records are gone, it is answered all the same,
// and never as if there had been no call.
func TestAStepWithoutItsRecordsMayHaveDeleted(t *testing.T) {
	for _, target := range events.Targets() {
		for _, first := range []deleter.Answer{answerBusy, answerPending, answerHold} {
			for how, lose := range map[string]func(*world){
				"expired":      func(w *world) { w.keepResults(shortAge); w.gone(); w.keepResults(720 * time.Hour) },
				"a new stream": (*world).newResults,
			} {
				t.Run(fmt.Sprintf("%s, %d, %s", target, first.Status, how), func(t *testing.T) {
					w := newWorld(t)
					r := entry(7)
					if target == kvTarget {
						r = contexts(7)
					}
					first.RetryAfter = time.Second
					c := w.config(target, script(first, answerNotFound))
					c.Rules.Retry.MaxInterval, c.Rules.ConfirmAfter = time.Second, time.Second
					_, stop := w.run(c)
					w.publish(r)
					w.until("a step is scheduled", func() bool { return len(w.messages(events.StreamLater, "deletions.later.>")) == 1 })
					w.until("the request is acknowledged", func() bool { return len(w.messages(events.StreamRequests, ">")) == 0 })
					stop()
					lose(w)
					w.run(c)
					got := w.final(target, r.ID)
					if got.Outcome != events.Deleted || got.Attempts != 2 {
						t.Errorf("%s after %d attempts", got.Outcome, got.Attempts)
					}
					if ours := got.Evidence.AfterUnansweredAttempt; ours != (first.Verdict != deleter.AcceptedPending) {
						t.Errorf("after_unanswered_attempt is %v", ours)
					}
					w.settled()
				})
			}
		}
	}
}

// The results stream was deleted, created again by setup, and the same request
// published again: what is due knows a record that is not in the new stream.
func TestAStepWithoutItsRecordsFindsThoseOfARepeat(t *testing.T) {
	w := newWorld(t)
	r := entry(7)
	c := w.config(sensayTarget, script(answerBusy, answerNotFound))
	c.Rules.Retry.MaxInterval = time.Second
	l, stop := w.run(c)
	w.publish(r)
	w.until("a step is scheduled", func() bool { return len(w.messages(events.StreamLater, "deletions.later.>")) == 1 })
	w.until("the request is acknowledged", func() bool { return len(w.messages(events.StreamRequests, ">")) == 0 })
	stop()
	before := w.messages(events.StreamResults, ">")
	if err := w.js.DeleteStream(t.Context(), events.StreamResults); err != nil {
		t.Fatal(err)
	}
	if err := streams.Setup(t.Context(), w.js, settings); err != nil {
		t.Fatal(err)
	}
	repeat := l.ledger.NewAttempt(t.Context(), r.ID, before[0].Header.Get("Lethe-Fingerprint"), ledger.Progress{Attempts: 1}, 0)
	if err := l.ledger.Append(t.Context(), repeat); err != nil {
		t.Fatal(err)
	}
	w.run(c)
	if got := w.final(sensayTarget, r.ID); got.Outcome != events.Deleted || !got.Evidence.AfterUnansweredAttempt {
		t.Errorf("%s, %+v", got.Outcome, got.Evidence)
	}
}

// A step that waits for another worker's lease knows no record yet.
func TestAStepThatNeverHadARecordFindsNone(t *testing.T) {
	w := newWorld(t)
	r := entry(7)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	l := New(w.js, w.config(sensayTarget, script(answerNotFound)))
	if err := l.ledger.Schedule(t.Context(), r.ID, &nats.Msg{Data: body}, ledger.Progress{RequestSeq: 1}, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.run(l.config)
	if got := w.final(sensayTarget, r.ID); got.Outcome != events.Deleted || !got.Evidence.AfterUnansweredAttempt {
		t.Errorf("%s, %+v", got.Outcome, got.Evidence)
	}
}

// A replay waits while the failed result that it names expires.
func TestAReplayWithoutItsFailedResultMayHaveDeleted(t *testing.T) {
	for _, c := range []struct {
		name   string
		expire bool
		want   events.Outcome
	}{
		{"it expired", true, events.Deleted},
		{"there never was one", false, events.NotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := entry(7)
			body, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if c.expire {
				w.foreign(events.ResultSubject(sensayTarget, r.ID, events.Failed), "{}", nil)
				w.keepResults(shortAge)
				w.gone()
				w.keepResults(720 * time.Hour)
			}
			w.publishRaw(sensayTarget, body, nats.Header{"Lethe-Expected": {"1"}})
			w.run(w.config(sensayTarget, script(answerNotFound)))
			if got := w.final(sensayTarget, r.ID); got.Outcome != c.want {
				t.Errorf("%s, want %s", got.Outcome, c.want)
			}
			w.settled()
		})
	}
}

// slowRetry is a ledger that asks the server only once it may.
type slowRetry struct {
	requestLedger
	asks, may chan struct{}
}

func (s slowRetry) Retry(context.Context, string, func(context.Context) error) error {
	close(s.asks)
	<-s.may
	return nil
}

// A fetch reads each message as it comes. Another request that has to ask the server
// must not hold it up.
func TestAMessageIsReadWhileAnotherAsksForTheRetention(t *testing.T) {
	w := newWorld(t)
	l := New(w.js, w.config(sensayTarget, nil))
	slow := slowRetry{l.ledger, make(chan struct{}), make(chan struct{})}
	l.ledger = slow
	d, _ := w.delivered(0)
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
		old := l.mayBeOld(d)
		select {
		case read <- old:
		case <-t.Context().Done():
		}
	}()
	select {
	case old := <-read:
		if !old {
			t.Error("it cannot be known yet whether it is old")
		}
	case <-time.After(patience):
		t.Error("it waits for the other's question")
	}
}
