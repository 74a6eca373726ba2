package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/control"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

// pause writes a pause and waits until the lane has seen it.
func (w *world) pause(l *Lane) {
	w.Helper()
	w.writePause()
	w.until("the lane is paused", func() bool { return l.State().Status == StatusPaused })
}

func (w *world) writePause() {
	w.Helper()
	if _, _, err := control.Pause(context.Background(), w.js, kvTarget, "vendor asked", "anna", time.Time{}); err != nil {
		w.Error(err)
	}
}

func (w *world) resume() {
	w.Helper()
	if _, _, err := control.Resume(w.Context(), w.js, kvTarget, "ben"); err != nil {
		w.Fatal(err)
	}
}

// A pause returns the requests that wait for their call, and fetches none.
func TestAPausedLaneReturnsWhatWaitsAndFetchesNothing(t *testing.T) {
	w := newWorld(t)
	calls := script(answerDeleted)
	config := w.config(kvTarget, calls)
	config.Rate = 0.01 // so that all but the first request wait for their turn, for longer than the test
	lane, stop := w.run(config)
	requests := []events.Request{contexts(1), contexts(2), contexts(3), contexts(4)}
	w.publish(requests...)
	w.until("the first call", func() bool { return calls.count() > 0 })
	w.until("requests wait in memory", func() bool { return lane.inflight.size() > 0 })
	w.pause(lane)
	w.until("they are returned, and the last pull is over", func() bool {
		return lane.inflight.size() == 0 && w.requestsConsumer().NumWaiting == 0
	})
	before, delivered := calls.count(), w.requestsConsumer().Delivered.Consumer
	more := contexts(5)
	w.publish(more)
	time.Sleep(2 * pullWait) // a lane that fetched would have it by now
	if n := w.requestsConsumer().Delivered.Consumer - delivered; n > 0 || calls.count() != before {
		t.Errorf("%d requests are fetched and %d calls made in a pause", n, calls.count()-before)
	}
	stop()

	other, _ := w.run(w.config(kvTarget, calls))
	w.until("a new worker sees the pause", func() bool { return other.State().Status == StatusPaused })
	if calls.count() != before {
		t.Error("a new worker calls in a pause")
	}
	w.resume()
	for _, r := range append(requests, more) {
		if got := w.final(kvTarget, r.ID); got.Outcome != events.Deleted || got.Attempts != 1 {
			t.Errorf("%s is %s after %d attempts", r.ID, got.Outcome, got.Attempts)
		}
	}
}

// A claim on which no call was made is released in the ledger, too.
func TestAPauseReleasesAClaim(t *testing.T) {
	w := newWorld(t)
	r := entry(7)
	calls := script(answerNotFound)
	l := New(w.js, w.config(sensayTarget, calls))
	l.ledger = &watched{requestLedger: l.ledger, after: func(subject string) {
		if subject != events.AttemptSubject(sensayTarget, r.ID, 1) {
			return
		}
		if _, _, err := control.Pause(t.Context(), w.js, sensayTarget, "r", "anna", time.Time{}); err != nil {
			t.Error(err)
		}
		<-l.control.Open().Done()
	}}
	d, heard := w.delivered(0)
	d.request, d.seq = r, 1
	w.step(l, d)
	if heard("-NAK") != 1 || calls.count() != 0 {
		t.Errorf("given back %d times; %d calls", heard("-NAK"), calls.count())
	}
	last, err := l.ledger.Last(t.Context(), r.ID)
	if err != nil || last == nil || last.Lease != 0 || last.Progress.Attempts != 0 || last.Progress.MayHaveDeleted {
		t.Errorf("the last record is %+v, %v", last, err)
	}
}

func TestAPauseStopsABisectionBetweenItsCalls(t *testing.T) {
	w := newWorld(t)
	calls := refusing(422, false, 3)
	refuse := calls.answer
	var lane *Lane
	ready := make(chan struct{})
	calls.answer = func(call int, res events.Resource) deleter.Answer {
		if call == 1 {
			<-ready
			w.writePause()
			<-lane.control.Open().Done()
		}
		return refuse(call, res)
	}
	requests := []events.Request{contexts(1), contexts(2), contexts(3), contexts(4)}
	w.publish(requests...)
	lane, _ = w.run(w.together(100, calls))
	close(ready)
	w.until("the lane is paused", func() bool { return lane.State().Status == StatusPaused })
	w.until("nothing is in flight", func() bool { return lane.inflight.size() == 0 })
	if n := calls.count(); n != 1 {
		t.Errorf("%d calls, want the one before the pause", n)
	}
	w.resume()
	for i, r := range requests {
		want := events.Deleted
		if i == 2 {
			want = events.Invalid
		}
		if got := w.final(kvTarget, r.ID); got.Outcome != want {
			t.Errorf("%v is %s, want %s", got.Resource, got.Outcome, want)
		}
	}
}

func TestALaneWithoutItsKeyMakesNoCalls(t *testing.T) {
	w := newWorld(t)
	calls := script(answerDeleted)
	lane, _ := w.run(w.config(kvTarget, calls))
	w.until("the lane runs", func() bool { return lane.control.MayCall() })
	// As `nats kv del` does.
	if _, err := w.js.PublishMsg(t.Context(), &nats.Msg{Subject: streams.LaneKey(kvTarget), Header: nats.Header{"KV-Operation": {"DEL"}}}); err != nil {
		t.Fatal(err)
	}
	w.until("the lane is blocked", func() bool {
		s := lane.State()
		return s.Status == StatusBlocked && s.Code == CodeControlBucket
	})
	before := calls.count()
	r := contexts(1)
	w.publish(r)
	time.Sleep(2 * pullWait)
	if calls.count() != before {
		t.Error("it calls")
	}
	if err := streams.Setup(t.Context(), w.js, settings); err != nil {
		t.Fatal(err)
	}
	w.final(kvTarget, r.ID)
}

// A pull that failed before a pause is no problem during it: nothing is fetched then.
func TestAPausedLaneReportsNoPullThatFails(t *testing.T) {
	w := newWorld(t)
	lane, _ := w.run(w.config(kvTarget, script()))
	w.pause(lane)
	w.until("the last pull is over", func() bool { return w.requestsConsumer().NumWaiting == 0 })
	lane.pulls.mu.Lock()
	lane.pulls.failing[events.StreamRequests] = ledger.Failure{Reason: "no reply", Fix: "wait", Since: time.Now().Add(-time.Minute)}
	lane.pulls.mu.Unlock()
	if s := lane.State(); s.Status != StatusPaused || len(s.Further) > 0 {
		t.Errorf("%+v", s)
	}
}

// deadlines keeps until when the latest call may begin.
type deadlines struct{ until time.Time }

func (d *deadlines) Delete(ctx context.Context, _ events.Resource) deleter.Answer {
	d.until, _ = deleter.StartDeadline(ctx)
	return answerDeleted
}

// A worker that is stopped between the check and the write must not call later.
func TestACallMustBeginWhileTheLaneMayCall(t *testing.T) {
	w := newWorld(t)
	var called deadlines
	lane := New(w.js, w.config(kvTarget, &called))
	w.mayCall(lane)
	j := &job{delivery: &delivery{}, Request: contexts(1), startDeadline: time.Now().Add(time.Hour)}
	if _, made := lane.call(t.Context(), []*job{j}); !made {
		t.Fatal("no call was made")
	}
	if latest := time.Now().Add(control.BeginWithin); called.until.IsZero() || called.until.After(latest) {
		t.Errorf("the call may begin until %s, the lane may call until %s at most", called.until, latest)
	}
}
