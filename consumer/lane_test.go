package consumer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

const (
	kvTarget     = events.KVUserContext
	sensayTarget = events.SensayKnowledgeBase
)

// The answers of an API, call by call, and the results that follow.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		answers  []deleter.Answer
		outcomes []events.Outcome
		attempts int
		mayHave  bool // after_unanswered_attempt
	}{
		{"deleted", []deleter.Answer{answerDeleted}, []events.Outcome{events.Deleted}, 1, false},
		{"not found", []deleter.Answer{answerNotFound}, []events.Outcome{events.NotFound}, 1, false},
		{"refused", []deleter.Answer{{Verdict: deleter.Invalid, Status: 400, Message: "no"}}, []events.Outcome{events.Invalid}, 1, false},
		{"undocumented, then deleted", []deleter.Answer{answerUndocumented, answerUndocumented, answerDeleted}, []events.Outcome{events.Deleted}, 3, false},
		{"busy, then deleted", []deleter.Answer{answerBusy, answerBusy, answerDeleted}, []events.Outcome{events.Deleted}, 3, false},
		{"busy, then not found", []deleter.Answer{answerBusy, answerNotFound}, []events.Outcome{events.NotFound}, 2, false},
		{"lost, then not found", []deleter.Answer{answerLost, answerNotFound}, []events.Outcome{events.Deleted}, 2, true},
		{"lost, busy, then not found", []deleter.Answer{answerLost, answerBusy, answerNotFound}, []events.Outcome{events.Deleted}, 3, true},
		{"pending, then gone", []deleter.Answer{answerPending, answerNotFound}, []events.Outcome{events.AcceptedPending, events.Deleted}, 2, false},
		{"pending twice, then gone", []deleter.Answer{answerPending, answerPending, answerNotFound}, []events.Outcome{events.AcceptedPending, events.Deleted}, 3, false},
		{"pending, busy, then gone", []deleter.Answer{answerPending, answerBusy, answerNotFound}, []events.Outcome{events.AcceptedPending, events.Deleted}, 3, false},
		{"a refused credential, then not found", []deleter.Answer{answerUnauthorized, answerUnauthorized, answerNotFound}, []events.Outcome{events.NotFound}, 3, false},
	} {
		for _, r := range []events.Request{contexts(10, 11), entry(7)} {
			t.Run(c.name+" "+string(r.Target()), func(t *testing.T) {
				env := newEnvironment(t)
				target := r.Target()
				env.run(env.config(target, answering(c.answers...)))
				env.publish(r)
				last := env.final(target, r.ID)
				env.settled()

				var outcomes []events.Outcome
				for _, r := range env.results("deletions.results.>") {
					outcomes = append(outcomes, r.Outcome)
				}
				if diff := cmp.Diff(c.outcomes, outcomes); diff != "" {
					t.Errorf("outcomes (-want +got):\n%s", diff)
				}
				if last.Attempts != c.attempts {
					t.Errorf("%d attempts, want %d", last.Attempts, c.attempts)
				}
				if last.Evidence.AfterUnansweredAttempt != c.mayHave {
					t.Errorf("after_unanswered_attempt is %v", last.Evidence.AfterUnansweredAttempt)
				}
				if diff := cmp.Diff(r.Resource, last.Resource); diff != "" {
					t.Errorf("resource (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestRetriesEnd(t *testing.T) {
	env := newEnvironment(t)
	c := env.config(sensayTarget, answering(answerLost))
	c.Rules.Retry.MaxElapsed = 200 * time.Millisecond
	env.run(c)
	r := entry(1)
	env.publish(r)
	got := env.final(sensayTarget, r.ID)
	if got.Outcome != events.Failed || got.Error.Code != events.CodeRetriesExhausted || got.Attempts < 2 {
		t.Errorf("%+v %+v", got, got.Error)
	}
}

func TestARepeatedRequestHasOneResult(t *testing.T) {
	t.Parallel()
	for _, r := range []events.Request{contexts(10), entry(7)} {
		t.Run(string(r.Target()), func(t *testing.T) {
			env := newEnvironment(t)
			api := answering(answerDeleted, answerNotFound)
			env.run(env.config(r.Target(), api))
			env.publish(r, r, r)
			env.final(r.Target(), r.ID)
			env.publish(r, r)
			env.settled()
			if n := len(env.results("deletions.results.>")); n != 1 {
				t.Errorf("%d results", n)
			}
			if api.count() != 1 {
				t.Errorf("%d calls", api.count())
			}
		})
	}
}

func TestARepeatWhileTheFirstWaitsChangesNothing(t *testing.T) {
	t.Parallel()
	for _, r := range []events.Request{contexts(10), entry(7)} {
		t.Run(string(r.Target()), func(t *testing.T) {
			env := newEnvironment(t)
			api := answering(deleter.Answer{Verdict: deleter.Retry, Status: 503}, answerNotFound)
			c := env.config(r.Target(), api)
			c.Rules.Retry.InitialInterval, c.Rules.Retry.MaxInterval, c.Rules.Retry.MaxElapsed = time.Hour, time.Hour, 24*time.Hour
			lane, _ := env.run(c)
			env.publish(r)
			env.until("the retry is scheduled", func() bool { return len(env.messages(events.StreamLater, "deletions.later.>")) == 1 })
			env.publish(r, r)
			env.until("the repeats are acknowledged", func() bool { return len(env.messages(events.StreamRequests, ">")) == 0 })
			if api.count() != 1 {
				t.Errorf("%d calls before the retry is due", api.count())
			}
			if err := lane.ledger.BringForward(t.Context(), r.ID, time.Now()); err != nil {
				t.Fatal(err)
			}
			if got := env.final(r.Target(), r.ID); got.Outcome != events.NotFound || got.Attempts != 2 {
				t.Errorf("%s after %d attempts", got.Outcome, got.Attempts)
			}
			env.settled()
		})
	}
}

func TestAnIDNamesOneResource(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string][2]events.Request{
		"user contexts":        {contexts(10), contexts(10, 11)},
		"knowledge-base entry": {entry(7), entry(8)},
	} {
		for _, waiting := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, first waiting %v", name, waiting), func(t *testing.T) {
				first, second := pair[0], pair[1]
				second.ID = first.ID
				target := first.Target()
				env := newEnvironment(t)
				api := answering(answerDeleted)
				if waiting {
					api = answering(answerBusy, answerBusy, answerDeleted)
				}
				env.run(env.config(target, api))
				env.publish(first)
				if waiting {
					env.until("the first attempt is over", func() bool { return api.count() > 0 })
				}
				env.publish(second)

				reused := env.final(target, events.SequenceID(2))
				if reused.Outcome != events.Invalid || reused.Error.Code != events.CodeIDReused {
					t.Errorf("the second is %s", reused.Outcome)
				}
				got := env.final(target, first.ID)
				env.settled()
				if got.Outcome != events.Deleted || !cmp.Equal(got.Resource, first.Resource) {
					t.Errorf("the first is %s, %v", got.Outcome, got.Resource)
				}
				for _, called := range api.calls {
					if called != fmt.Sprint(first.Resource) {
						t.Errorf("a call was made for %s", called)
					}
				}
				if n := len(env.results("deletions.results.>")); n != 2 {
					t.Errorf("%d results", n)
				}
			})
		}
	}
}

func TestTwoRequestsForOneEntryEachHaveAResult(t *testing.T) {
	env := newEnvironment(t)
	env.run(env.config(sensayTarget, answering(answerDeleted, answerNotFound)))
	first, second := entry(7), entry(7)
	env.publish(first)
	if got := env.final(sensayTarget, first.ID); got.Outcome != events.Deleted {
		t.Error(got.Outcome)
	}
	env.publish(second)
	if got := env.final(sensayTarget, second.ID); got.Outcome != events.NotFound {
		t.Error(got.Outcome)
	}
}

func TestAMalformedEventHasOneInvalidResult(t *testing.T) {
	t.Parallel()
	good := contexts(10)
	body, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	withID := []byte(`{"specversion":"1.0","id":"mine","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[0]}}`)
	for _, c := range []struct {
		name   string
		body   []byte
		header nats.Header
		id     string
		code   events.Code
	}{
		{"an event that cannot be read is answered under its sequence", []byte("{"), nil, "seq-1", events.CodeMalformedEvent},
		{"nothing at all", nil, nil, "seq-1", events.CodeMalformedEvent},
		{"an event whose id can be read is answered under it", withID, nil, "mine", events.CodeInvalidResource},
		{"forged headers are ignored", []byte("{"), nats.Header{"Lethe-Request-Sequence": {"77"}, "Lethe-Expected": {"5"}, "Lethe-Attempt": {"9"}}, "seq-1", events.CodeMalformedEvent},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newEnvironment(t)
			api := answering(answerDeleted)
			env.run(env.config(kvTarget, api))
			env.publishRaw(kvTarget, c.body, c.header)
			got := env.final(kvTarget, c.id)
			if got.Outcome != events.Invalid || got.Error.Code != c.code || got.Error.Message == "" {
				t.Errorf("%s %+v", got.Outcome, got.Error)
			}
			// A repeat changes nothing, and other requests are processed.
			env.publishRaw(kvTarget, c.body, c.header)
			env.publishRaw(kvTarget, body, nil)
			env.final(kvTarget, good.ID)
			env.settled()
			if api.count() != 1 {
				t.Errorf("%d calls", api.count())
			}
		})
	}
}

func TestAMalformedEventDoesNotChangeAnEarlierRequest(t *testing.T) {
	env := newEnvironment(t)
	env.run(env.config(kvTarget, answering(answerDeleted)))
	r := contexts(10)
	env.publish(r)
	env.final(kvTarget, r.ID)
	env.publishRaw(kvTarget, []byte(`{"specversion":"1.0","id":"`+r.ID+`","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[]}}`), nil)
	if got := env.final(kvTarget, "seq-2"); got.Error.Code != events.CodeInvalidResource {
		t.Errorf("%+v", got.Error)
	}
	if n := len(env.results(events.ResultFilter(kvTarget, r.ID, ""))); n != 1 {
		t.Errorf("%d results under the first one's id", n)
	}
}

// A consumer that lost its ack floor delivers everything again.
func TestAWholeStreamDeliveredAgainMakesNoCall(t *testing.T) {
	t.Parallel()
	const n = 500
	for _, target := range events.Targets() {
		t.Run(string(target), func(t *testing.T) {
			env := newEnvironment(t)
			api := answering(answerDeleted)
			_, stop := env.run(env.config(target, api))
			requests := make([]events.Request, n)
			for i := range requests {
				requests[i] = contexts(int64(i + 1))
				if target == sensayTarget {
					requests[i] = entry(int64(i + 1))
				}
			}
			env.publish(requests...)
			env.settled()
			stop()
			env.publish(requests...)
			again := answering(answerNotFound)
			env.run(env.config(target, again))
			env.settled()
			if again.count() != 0 {
				t.Errorf("%d calls for finished requests", again.count())
			}
			if got := len(env.results("deletions.results.>")); got != n {
				t.Errorf("%d results", got)
			}
		})
	}
}

func TestManyWorkersCallOnceForEachRequest(t *testing.T) {
	const n, workers = 400, 5
	env := newEnvironment(t)
	api := &fakeAPI{answer: func(int, events.Resource) deleter.Answer { return answerDeleted }}
	for range workers {
		env.run(env.config(sensayTarget, api))
	}
	for i := range n {
		env.publish(entry(int64(i + 1)))
	}
	env.settled()
	if api.count() != n {
		t.Errorf("%d calls for %d requests", api.count(), n)
	}
	if got := len(env.results("deletions.results.>")); got != n {
		t.Errorf("%d results", got)
	}
}

func TestAnAttemptIsStoredBeforeItsCall(t *testing.T) {
	env := newEnvironment(t)
	seen := make(chan int, 1)
	var r events.Request
	api := &fakeAPI{}
	api.answer = func(int, events.Resource) deleter.Answer {
		seen <- len(env.messages(events.StreamResults, events.AttemptSubject(sensayTarget, r.ID, 1)))
		return answerDeleted
	}
	r = entry(7)
	env.run(env.config(sensayTarget, api))
	env.publish(r)
	if n := <-seen; n != 1 {
		t.Errorf("%d attempts are stored during the call", n)
	}
	env.final(sensayTarget, r.ID)
}

// A worker dies between its call and its result.
func TestAnAttemptOfAnotherWorkerIsRespected(t *testing.T) {
	env := newEnvironment(t)
	r := entry(7)
	dead := New(env.js, env.config(sensayTarget, nil))
	h := ledger.Progress{RequestSeq: 1}.WithAttempt(dead.clock.now())
	const lease = 2 * time.Second
	begun := time.Now()
	if _, err := recordAttempt(t.Context(), dead.ledger, r.ID, events.Fingerprint(r.Resource), h, lease); err != nil {
		t.Fatal(err)
	}
	api := answering(answerNotFound)
	var called time.Time
	answer := api.answer
	api.answer = func(n int, res events.Resource) deleter.Answer { called = time.Now(); return answer(n, res) }
	env.run(env.config(sensayTarget, api))
	env.publish(r)
	got := env.final(sensayTarget, r.ID)
	if got.Outcome != events.Deleted || !got.Evidence.AfterUnansweredAttempt || got.Attempts != 2 {
		t.Errorf("%s after %d attempts, %+v", got.Outcome, got.Attempts, got.Evidence)
	}
	if called.Before(begun.Add(lease)) {
		t.Error("the call did not wait for the lease to end")
	}
}

// Another worker takes the lease for expired and continues with the request during the call. This
// worker then stores nothing. It acknowledges the message only if the other one has stored the
// result: otherwise the other one needs the message.
func TestAWorkerWhoseStepConflictsStoresNothing(t *testing.T) {
	t.Parallel()
	for _, finished := range []bool{true, false} {
		for name, answer := range map[string]deleter.Answer{"a result": answerDeleted, "a retry": answerLost} {
			t.Run(fmt.Sprintf("%s, the other has its result: %t", name, finished), func(t *testing.T) {
				env := newEnvironment(t)
				r := entry(7)
				other := New(env.js, env.config(sensayTarget, nil))
				l := New(env.js, env.config(sensayTarget, &fakeAPI{answer: func(int, events.Resource) deleter.Answer {
					last, err := other.ledger.Last(t.Context(), r.ID)
					if err != nil || last == nil {
						t.Fatalf("the last record is %v: %v", last, err)
					}
					p := last.Progress.WithAttempt(other.clock.now())
					if p.Seq, err = recordAttempt(t.Context(), other.ledger, r.ID, last.Fingerprint, p, time.Minute); err != nil {
						t.Fatal(err)
					}
					if !finished {
						return answer
					}
					if err := other.publishResult(t.Context(), r.ID, last.Fingerprint, p, (&job{Request: r, progress: p}).result(
						nextStep{outcome: events.Deleted, evidence: events.Evidence{Status: 404, ObservedAt: time.Now(), AfterUnansweredAttempt: true}})); err != nil {
						t.Fatal(err)
					}
					return answer
				}}))
				d, received := env.delivered(0)
				d.request = r
				env.step(l, d)
				want, kind := 0, "" // of any kind
				if finished {
					want, kind = 1, "+ACK"
				}
				if n := received(kind); n != want {
					t.Errorf("the server received %d acknowledgements, want %d", n, want)
				}
				results := env.results(events.ResultFilter(sensayTarget, r.ID, ""))
				if len(results) != want || finished && !results[0].Evidence.AfterUnansweredAttempt {
					t.Errorf("%+v", results)
				}
				if n := len(env.messages(events.StreamLater, "deletions.later.>")); n != 0 {
					t.Errorf("%d steps are scheduled", n)
				}
			})
		}
	}
}

// Whichever read or store keeps failing until the worker has to stop: the message is not
// acknowledged.
func TestAStepThatIsNotStoredIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	_, unreadable := events.ReadRequest(sensayTarget, nil, []byte("no request"))
	for name, c := range map[string]struct {
		target  events.Target
		request events.Request
		invalid error
		answer  deleter.Answer
		stores  int // stores and reads
	}{
		"a deletion by Sensay":  {sensayTarget, entry(7), nil, answerDeleted, 2},
		"a deletion by k-v.ai":  {kvTarget, contexts(7), nil, answerDeleted, 2},
		"no answer from Sensay": {sensayTarget, entry(7), nil, answerLost, 3},
		"no answer from k-v.ai": {kvTarget, contexts(7), nil, answerLost, 3},
		"a deletion for later":  {sensayTarget, entry(7), nil, answerPending, 3},
		"no request":            {sensayTarget, events.Request{}, unreadable, deleter.Answer{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			for failing := 1; ; failing++ {
				l := New(env.js, env.config(c.target, answering(c.answer)))
				d, received := env.delivered(0)
				d.request, d.invalid, d.seq = c.request, c.invalid, uint64(failing)
				if d.request.ID != "" {
					d.request.ID = ledger.NewID()
				}
				stores := 0
				l.ledger = &watchedLedger{requestLedger: l.ledger, before: func() error {
					if stores++; stores == failing {
						return context.DeadlineExceeded
					}
					return nil
				}}
				env.step(l, d)
				acked := received("+ACK")
				if stores < failing {
					if acked != 1 || stores < c.stores {
						t.Errorf("after %d stores it is acknowledged %d times", stores, acked)
					}
					return
				}
				if acked != 0 {
					t.Errorf("it is acknowledged although store %d failed", failing)
				}
			}
		})
	}
}

func TestHeadersOfTheWorkerAreNotServerCommands(t *testing.T) {
	env := newEnvironment(t)
	env.run(env.config(kvTarget, answering(answerBusy, answerDeleted)))
	r := contexts(10)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	env.publishRaw(kvTarget, body, nats.Header{"Nats-Rollup": nil, "Lethe-Unanswered": {"true"}, "X-Other": {"kept out"}})
	got := env.final(kvTarget, r.ID)
	if got.Evidence.AfterUnansweredAttempt {
		t.Error("a publisher's header was read as progress")
	}
	for _, m := range env.messages(events.StreamResults, ">") {
		for _, name := range []string{"X-Other", nats.MsgIdHdr} {
			if m.Header.Get(name) != "" {
				t.Errorf("%s has the header %s", m.Subject, name)
			}
		}
	}
}

func TestABinaryEventIsRetriedAsItWas(t *testing.T) {
	env := newEnvironment(t)
	env.run(env.config(kvTarget, answering(answerBusy, answerDeleted)))
	env.publishRaw(kvTarget, []byte(`{"target":"kv-user-context","ids":[9223372036854775807]}`), nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"binary-1"}, "ce-source": {"/s"}, "ce-type": {"lethe.deletion.requested.v1"},
		"content-type": {"application/json"}})
	got := env.final(kvTarget, "binary-1")
	if diff := cmp.Diff(events.Resource(events.UserContexts{IDs: []int64{9223372036854775807}}), got.Resource); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func BenchmarkLane(b *testing.B) {
	for _, c := range []struct {
		name   string
		target events.Target
		batch  int
	}{{"Sensay", sensayTarget, 1}, {"k-v.ai", kvTarget, 100}, {"k-v.ai, single calls", kvTarget, 1}} {
		b.Run(c.name, func(b *testing.B) {
			env := newEnvironment(b)
			for i := range b.N {
				r := contexts(int64(i + 1))
				if c.target == sensayTarget {
					r = entry(int64(i + 1))
				}
				body, err := r.Encode()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := env.js.PublishMsgAsync(&nats.Msg{Subject: events.RequestSubject(c.target), Data: body}); err != nil {
					b.Fatal(err)
				}
			}
			<-env.js.PublishAsyncComplete()
			config := env.config(c.target, answering(answerDeleted))
			config.Concurrency, config.BatchIDs, config.BatchLinger = 64, c.batch, 5*time.Millisecond
			b.ReportAllocs()
			b.ResetTimer()
			env.run(config)
			env.settled()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}
