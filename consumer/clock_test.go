package consumer

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// suspend changes the clock as an hour of suspend does: the wall clock is an hour ahead of the
// monotonic one.
func (c *clock) suspend() {
	wall := c.wall
	c.wall = func() time.Time { return wall().Add(time.Hour) }
	c.passed = func(t time.Time) bool { return deleter.Passed(t) || !c.wall().Before(t.Round(0)) }
}

// After a suspend, another worker may have the request in flight.
func TestAfterASuspendNoCallIsMadeAndNoMessageSettled(t *testing.T) {
	t.Parallel()
	for _, target := range events.Targets() {
		t.Run(string(target), func(t *testing.T) {
			env := newEnvironment(t)
			calls := answering(answerDeleted)
			l := New(env.js, env.config(target, calls))
			d, received := env.delivered(0)
			d.request, d.seq = entry(7), 1
			if target == kvTarget {
				d.request = contexts(7)
			}
			l.clock.suspend()
			env.step(l, d)
			if calls.count() != 0 {
				t.Errorf("%d calls", calls.count())
			}
			if err := d.extend(l.clock, l.ackWait.get()); err != nil {
				t.Fatal(err)
			}
			if n := received(""); n != 0 {
				t.Errorf("the server received %d acknowledgements", n)
			}
			if n := len(env.messages(events.StreamResults, ">")); n != 0 {
				t.Errorf("%d records", n)
			}
		})
	}
}

// A claim from before a suspend is released: no call was made on it.
func TestAClaimIsReleasedAfterASuspend(t *testing.T) {
	env := newEnvironment(t)
	r := entry(7)
	calls := answering(answerDeleted)
	l := New(env.js, env.config(sensayTarget, calls))
	l.ledger = &watchedLedger{requestLedger: l.ledger, after: func(subject string) {
		if subject == events.AttemptSubject(sensayTarget, r.ID, 1) {
			l.clock.suspend()
		}
	}}
	d, received := env.delivered(0)
	d.request, d.seq = r, 1
	env.step(l, d)
	if n := received(""); n != 0 || calls.count() != 0 {
		t.Errorf("the server received %d acknowledgements; %d calls", n, calls.count())
	}
	last, err := l.ledger.Last(t.Context(), r.ID)
	if err != nil || last == nil || last.Lease != 0 || last.Progress.Attempts != 0 || last.Progress.MayHaveDeleted {
		t.Errorf("the last record is %+v, %v", last, err)
	}
	env.run(env.config(sensayTarget, answering(answerNotFound)))
	env.publish(r)
	if got := env.final(sensayTarget, r.ID); got.Outcome != events.NotFound || got.Attempts != 1 {
		t.Errorf("%s after %d attempts", got.Outcome, got.Attempts)
	}
}

// A start deadline that passed during a suspend has passed for the call, too.
func TestACallThatIsTooLateByTheWallClockIsNotMade(t *testing.T) {
	env := newEnvironment(t)
	l := New(env.js, env.config(sensayTarget, nil))
	by := time.Now().Add(time.Minute)
	l.clock.suspend()
	if _, err := l.waitToCall(t.Context(), by); err == nil {
		t.Error("it may call")
	}
}

func TestTheServersTimeIsReadAgainAfterASuspend(t *testing.T) {
	env := newEnvironment(t)
	c := newClock()
	if err := c.measure(t.Context(), env.js, testLog()); err != nil {
		t.Fatal(err)
	}
	before := c.asked.Load()
	if c.correct(t.Context(), env.js, testLog()); c.asked.Load() != before {
		t.Error("the server was asked although the clock did not change")
	}
	c.suspend()
	if !c.diverged() {
		t.Error("the suspend is not noticed")
	}
	if c.correct(t.Context(), env.js, testLog()); c.asked.Load() == before || c.diverged() {
		t.Error("the server was not asked")
	}
}

func TestALargeClockSkewIsLogged(t *testing.T) {
	for _, c := range []struct {
		ahead, took time.Duration
		warned      bool
	}{
		{0, 0, false},
		{ledger.ClockTolerance, 0, false},
		{ledger.ClockTolerance + time.Second, 0, true},
		{-ledger.ClockTolerance - time.Second, 0, true},
		{ledger.ClockTolerance + time.Second, 3 * time.Second, false}, // the round trip may explain it
	} {
		var log lockedBuffer
		clock := newClock()
		for range 2 { // an unchanged skew is logged once
			clock.compare(noon, noon.Add(c.ahead-c.took/2), c.took, slog.New(slog.NewTextHandler(&log, nil)))
		}
		if n := strings.Count(log.String(), "level=WARN"); n > 1 || (n == 1) != c.warned {
			t.Errorf("ahead by %s: %d warnings: %s", c.ahead, n, log.String())
		}
	}
}
