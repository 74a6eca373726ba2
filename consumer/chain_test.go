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
				j := &job{Request: r, progress: History{Attempts: 1}}
				step := Step{Outcome: outcome, Evidence: events.Evidence{Status: 200, ObservedAt: time.Now()}}
				_, err := lane.publishResult(t.Context(), r.ID, "f", History{}, j.result(step))
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
	h := History{Attempts: 1, Arrival: 1}
	own := c.newAttempt(t.Context(), "x", "f", h, time.Second)
	if err := c.append(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	first := own.progress.Seq
	own.progress.Seq = 0 // as if the acknowledgement was lost
	if err := c.append(t.Context(), own); err != nil || own.progress.Seq != first {
		t.Errorf("sequence %d, %v; want %d", own.progress.Seq, err, first)
	}
	var moved *overtakenError
	if err := c.append(t.Context(), c.newAttempt(t.Context(), "x", "f", h, time.Second)); !errors.As(err, &moved) || moved.Last.Seq != first {
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

// An attempt that expires before its request ends would be forgotten.
func TestAttemptsAreKeptAsLongAsResults(t *testing.T) {
	w := newWorld(t)
	w.run(w.config(sensayTarget, script(answerDeleted)))
	r := entry(1)
	w.publish(r)
	w.final(sensayTarget, r.ID)
	for _, m := range w.messages(events.StreamResults, ">") {
		if ttl := m.Header.Get("Nats-TTL"); ttl != "" {
			t.Errorf("%s has the TTL %q", m.Subject, ttl)
		}
	}
}

// What cannot be encoded is not stored: an empty result would be final for everybody
// who looks at its subject.
func TestAResultThatCannotBeEncodedIsNotStored(t *testing.T) {
	w := newWorld(t)
	lane := New(w.js, w.config(sensayTarget, nil))
	j := &job{Request: entry(1), progress: History{Attempts: 1, Arrival: 1}}
	// No evidence: a deletion that nobody saw.
	r := j.result(Step{Outcome: events.Deleted})
	if seq, err := lane.publishResult(t.Context(), j.ID, "f", j.progress, r); err == nil || seq != 0 {
		t.Errorf("stored as %d, %v", seq, err)
	}
	if n := len(w.messages(events.StreamResults, ">")); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}
