package consumer

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// The server does not check the filter: a typo in it would switch the guard off.
func TestTheFilterIsThatOfTheContract(t *testing.T) {
	c := &chain{target: sensayTarget}
	if got, want := c.filter("abc-1"), "deletions.*.sensay-knowledge-base.abc-1.*"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestOfAnyNumberOfWritersOneIsAccepted(t *testing.T) {
	const writers, requests = 8, 50
	w := newWorld(t)
	for n := range requests {
		r := entry(int64(n + 1))
		var accepted atomic.Int32
		var writing sync.WaitGroup
		for i := range writers {
			writing.Go(func() {
				lane := New(w.js, w.config(sensayTarget, nil))
				outcome := []events.Outcome{events.Deleted, events.NotFound}[i%2]
				j := &job{Request: r, history: History{Attempts: 1}}
				step := Step{Outcome: outcome, Evidence: events.Evidence{Status: 200, ObservedAt: time.Now()}}
				_, err := lane.publish(t.Context(), r.ID, "f", History{}, j.result(step))
				var moved *overtakenError
				switch {
				case err == nil:
					accepted.Add(1)
				case !errors.As(err, &moved) || !moved.Last.Outcome.Final():
					t.Errorf("refused with %v", err)
				}
			})
		}
		writing.Wait()
		if accepted.Load() != 1 {
			t.Fatalf("%d final results were accepted for one request", accepted.Load())
		}
	}
	if n := len(w.results("deletions.results.>")); n != requests {
		t.Errorf("%d results of %d requests", n, requests)
	}
}

// A publish whose acknowledgement is lost is repeated, and finds its own link.
func TestALinkThatIsThereAlreadyMayBeOurOwn(t *testing.T) {
	w := newWorld(t)
	lane := New(w.js, w.config(sensayTarget, nil))
	c := lane.chain
	msg := c.newLink(t.Context(), events.AttemptSubject(sensayTarget, "x", 1), "f", History{}, []byte("{}"))
	first, err := c.append(t.Context(), "x", msg, 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.append(t.Context(), "x", msg, 0)
	if err != nil || again != first {
		t.Errorf("sequence %d, %v; want %d", again, err, first)
	}
	other := c.newLink(t.Context(), events.AttemptSubject(sensayTarget, "x", 1), "f", History{}, []byte("{}"))
	var moved *overtakenError
	if _, err := c.append(t.Context(), "x", other, 0); !errors.As(err, &moved) || moved.Last.Seq != first {
		t.Errorf("another's link: %v", err)
	}
}

func TestOnlyADefiniteRefusalIsOne(t *testing.T) {
	for code, want := range map[jetstream.ErrorCode]bool{10071: true, 10164: false, 10163: false, 10077: false} {
		if got := refused(fmt.Errorf("nats: %w", &jetstream.APIError{ErrorCode: code})); got != want {
			t.Errorf("%d is a refusal: %v", code, got)
		}
	}
	if refused(errors.New("time-out")) {
		t.Error("a time-out is a refusal")
	}
}

func TestAttemptsExpireAndResultsDoNot(t *testing.T) {
	w := newWorld(t)
	w.run(w.config(sensayTarget, script(answerDeleted)))
	r := entry(1)
	w.publish(r)
	w.final(sensayTarget, r.ID)
	for _, m := range w.messages(events.StreamResults, ">") {
		ttl := m.Header.Get("Nats-TTL")
		attempt := m.Subject == events.AttemptSubject(sensayTarget, r.ID, 1)
		if attempt == (ttl == "") {
			t.Errorf("%s has the TTL %q", m.Subject, ttl)
		}
	}
}

// Whatever retries a configuration allows, an attempt outlives them.
func TestAttemptsOutliveTheRequest(t *testing.T) {
	for _, r := range []Rules{
		plain,
		{ConfirmAfter: 1 << 62, Retry: Policy{MaxElapsed: 1 << 62}},
		{ConfirmAfter: time.Second, Retry: Policy{MaxElapsed: time.Second}},
	} {
		if got := keepAttempts(r); got < 7*24*time.Hour {
			t.Errorf("kept for %v", got)
		}
	}
}
