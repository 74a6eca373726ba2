package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// The server ends a pull with a status in a header and an empty body. Any publisher can
// send such a message too.
func TestAMessageThatLooksLikeAServerStatusIsAnswered(t *testing.T) {
	env := newEnvironment(t)
	env.run(env.config(kvTarget, answering(answerDeleted)))
	var answered []string
	for _, status := range []string{"100", "404", "408", "409", "503"} {
		seq := env.publishRaw(kvTarget, nil, nats.Header{"Status": {status}, "Description": {"No Messages"}})
		r := contexts(int64(seq))
		env.publish(r)
		answered = append(answered, events.SequenceID(seq))
		env.final(kvTarget, r.ID)
	}
	for _, id := range answered {
		if r := env.final(kvTarget, id); r.Outcome != events.Invalid || r.Error.Code != events.CodeMalformedEvent {
			t.Errorf("%s is %s", id, r.Outcome)
		}
	}
	env.settled()
}

// A schedule and every result repeat parts of the event, so these parts must fit.
func TestAnEventTooLargeForItsResultIsInvalid(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 20_000)
	structured, err := contexts(1).Encode()
	if err != nil {
		t.Fatal(err)
	}
	binary := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"large"}, "ce-source": {"/test"}, "ce-type": {events.RequestType}, "content-type": {"application/json"},
		"ce-a": {long}, "ce-b": {long}, "ce-c": {long},
	}
	sourced := func(length int) []byte {
		return fmt.Appendf(nil, `{"specversion":"1.0","id":"large","source":"/%s","type":"%s"}`, strings.Repeat("x", length), events.RequestType)
	}
	for name, c := range map[string]struct {
		body   []byte
		header nats.Header
		field  string
	}{
		"headers of a structured event":             {structured, nats.Header{"ce-a": {long}, "ce-b": {long}, "ce-c": {long}}, "headers"},
		"headers of a binary event":                 {[]byte(`{"target":"kv-user-context","ids":[1]}`), binary, "headers"},
		"a source near the limit of NATS":           {sourced(1_000_000), nil, "body"},
		"a source in an event that is small enough": {sourced(60_000), nil, "source"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			calls := answering(answerBusy, answerDeleted)
			env.run(env.config(kvTarget, calls))
			env.publishRaw(kvTarget, c.body, c.header)
			env.settled()
			results := env.results("deletions.results.>")
			if len(results) != 1 || results[0].Outcome != events.Invalid || !strings.HasPrefix(results[0].Error.Message, c.field+":") {
				t.Errorf("the results are %v", results)
			}
			if calls.count() != 0 {
				t.Errorf("%d calls", calls.count())
			}
		})
	}
}

// Endless retries would block the whole lane because of one message.
func TestARequestThatCannotBeStoredDelaysNoOther(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		tries int
	}{
		"more than the server accepts":      {nats.ErrMaxPayload, 1},
		"more headers than a stream stores": {&jetstream.APIError{ErrorCode: 10097}, 1},
		"more than the stream accepts":      {&jetstream.APIError{ErrorCode: 10054}, 1},
		"a concurrent publish":              {&jetstream.APIError{ErrorCode: 10164}, 3},
		"no connection":                     {nats.ErrConnectionReconnecting, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := New(nil, (&environment{}).config(kvTarget, nil))
			tries := 0
			err := l.ledger.Retry(t.Context(), events.StreamResults, func(context.Context) error {
				if tries++; tries == 3 {
					return nil
				}
				return c.err
			})
			if tries != c.tries || (err != nil) != (c.tries == 1) {
				t.Errorf("%d tries, then %v", tries, err)
			}
			if why := l.ledger.Failing(); why != nil {
				t.Errorf("the lane is still blocked: %v", why)
			}
		})
	}
}

// What an answer says about a deletion outlives the schedule that the answer led to.
func TestARepeatedMessageContinuesFromTheEarlierAttempt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer deleter.Answer
		want   events.Outcome
	}{
		"nothing deleted":  {answerBusy, events.NotFound},
		"may have deleted": {answerLost, events.Deleted},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			answer := c.answer
			answer.RetryAfter = time.Hour // so that the schedule does not fire
			config := env.config(sensayTarget, answering(answer))
			config.Rules.Retry.MaxInterval = time.Hour
			config.Rules.Retry.MaxElapsed = 24 * time.Hour
			_, stop := env.run(config)
			r := entry(7)
			env.publish(r)
			env.settledOn(events.StreamRequests)
			stop()

			// As if the schedule had fired and its message waited somewhere.
			later, err := env.js.Stream(t.Context(), events.StreamLater)
			if err != nil {
				t.Fatal(err)
			}
			if err := later.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			env.run(env.config(sensayTarget, answering(answerNotFound)))
			env.publish(r)
			got := env.final(sensayTarget, r.ID)
			if got.Outcome != c.want || got.Attempts != 2 || got.Evidence.AfterUnansweredAttempt != (c.want == events.Deleted) {
				t.Errorf("%s after %d attempts, %+v", got.Outcome, got.Attempts, got.Evidence)
			}
		})
	}
}

// A k-v.ai request has no record before its call, so another request can take its id
// during the call. The deletion is reported all the same.
func TestADeletionIsReportedEvenIfItsIDIsInUse(t *testing.T) {
	env := newEnvironment(t)
	r := contexts(1)
	calls := &fakeAPI{answer: func(int, events.Resource) deleter.Answer {
		env.publishRaw(kvTarget, []byte(`{"specversion":"1.0","id":"`+r.ID+`"}`), nil)
		env.final(kvTarget, r.ID)
		return answerDeleted
	}}
	env.run(env.config(kvTarget, calls))
	env.publish(r)
	env.until("the call is in flight", func() bool { return calls.count() > 0 })
	env.run(env.config(kvTarget, calls)) // the first worker has that id in flight
	env.settled()
	if got := env.final(kvTarget, r.ID); got.Outcome != events.Invalid {
		t.Errorf("under its id: %s", got.Outcome)
	}
	if got := env.final(kvTarget, events.SequenceID(1)); got.Outcome != events.Deleted || got.Evidence.Status != 200 {
		t.Errorf("under its sequence: %s, %+v", got.Outcome, got.Evidence)
	}
}

func TestAnAnsweredRequestDoesNotWaitForACall(t *testing.T) {
	env := newEnvironment(t)
	calls := answering(answerDeleted)
	c := env.config(kvTarget, calls)
	c.Rate = 0.001
	env.run(c)
	r := contexts(1)
	env.publish(r)
	env.final(kvTarget, r.ID)
	env.publish(r, r, r)
	env.settled()
	if calls.count() != 1 {
		t.Errorf("%d calls", calls.count())
	}
}

func TestALaneDoesNotWaitForTheConsumerOfAnotherLane(t *testing.T) {
	env := newEnvironment(t)
	if err := env.js.DeleteConsumer(t.Context(), events.StreamLater, string(sensayTarget)); err != nil {
		t.Fatal(err)
	}
	lane, _ := env.run(env.config(kvTarget, answering(answerDeleted)))
	r := contexts(1)
	env.publish(r)
	env.final(kvTarget, r.ID)
	if !lane.check(t.Context()) || lane.State().Status != StatusRunning {
		t.Errorf("the lane is %+v", lane.State())
	}
	var problem *streams.Problem
	if err := streams.Check(t.Context(), env.js, 0, sensayTarget); !errors.As(err, &problem) || problem.Consumer != string(sensayTarget) {
		t.Errorf("the check of the other lane returned %v", err)
	}
}
