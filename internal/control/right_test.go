package control

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-dev/lethe/events"
)

// still returns a lease that does not run.
func still() *Lease {
	return newLease(newLeader(), Config{Target: events.KVUserContext, Instance: "w1", CallTimeout: time.Second, Log: slog.New(slog.DiscardHandler)})
}

// A pause waits for a worker whose key lets it call.
func TestAHeartbeatSaysWhetherItsKeyLetsItCall(t *testing.T) {
	for name, c := range map[string]struct {
		lane  Lane
		ended bool
		want  bool
	}{
		"no key was read":  {Lane{}, false, false},
		"running":          {Lane{State: Running}, false, true},
		"paused":           {Lane{State: Paused}, false, false},
		"paused, until it": {Lane{State: Paused}, true, true},
		"unreadable":       {Lane{State: Unreadable}, false, false},
	} {
		l := still()
		c.lane.Sequence = 7
		l.lane, l.ended = c.lane, c.ended
		if h, expected := l.heartbeat("x"); h.MayCall != c.want || h.Key != 7 || expected != 7 || h.State != "x" {
			t.Errorf("%s: %+v, expecting %d", name, h, expected)
		}
	}
}

// The timer that ends the right may be late, as after a machine was suspended.
func TestARightThatHasPassedIsNone(t *testing.T) {
	l, by := still(), time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		until time.Time
		may   bool
		begin time.Time
	}{
		"passed":                        {time.Now().Add(-time.Millisecond), false, time.Time{}},
		"ends before the call's own":    {by.Add(-time.Minute), true, by.Add(-time.Minute)},
		"ends with the call's own":      {by, true, by},
		"is longer than the call's own": {by.Add(time.Minute), true, by},
	} {
		l.until.Store(&c.until)
		if may, begin := l.MayCall(), l.Begin(by); may != c.may || !begin.Equal(c.begin) {
			t.Errorf("%s: may %v, begin by %v", name, may, begin)
		}
	}
	l.until.Store(nil)
	if l.MayCall() || !l.Begin(by).IsZero() {
		t.Error("a call may begin without a right")
	}
}

func TestAStateSaysWhyNoCallBegins(t *testing.T) {
	since := time.Now().Add(-time.Hour)
	until := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	paused := Lane{Target: events.KVUserContext, State: Paused, By: "anna", Reason: "why", Since: since}
	pausedUntil := paused
	pausedUntil.Until = until
	for name, c := range map[string]struct {
		change func(l *Lease)
		word   string
		reason string // a part
	}{
		"not started":                   {func(*Lease) {}, "", ""},
		"paused":                        {func(l *Lease) { l.lane, l.known = paused, true }, Paused, "paused by anna: why"},
		"paused until a time":           {func(l *Lease) { l.lane, l.known = pausedUntil, true }, Paused, "paused by anna: why; until 2026-11-23 12:00:00"},
		"paused until a time that came": {func(l *Lease) { l.lane, l.known, l.ended = pausedUntil, true, true }, "", ""},
		"paused, but the key changed":   {func(l *Lease) { l.lane = paused }, "", ""},
		"unreadable":                    {func(l *Lease) { l.lane, l.known = Lane{State: Unreadable, Reason: "gone"}, true }, Blocked, "gone"},
		"unreadable, the key changed":   {func(l *Lease) { l.lane = Lane{State: Unreadable, Reason: "gone"} }, "", ""},
		"no heartbeat is stored":        {func(l *Lease) { l.failure = "no server" }, Blocked, "no server"},
		"one heartbeat was not stored":  {func(l *Lease) { l.failure, l.since = "no server", time.Now() }, "", ""},
		"one was not, calls may begin": {func(l *Lease) {
			l.failure = "no server"
			ctx, end := context.WithCancel(t.Context())
			t.Cleanup(end)
			l.open.Store(&period{ctx, end})
		}, "", ""},
	} {
		l := still()
		l.since = since
		c.change(l)
		s := l.State()
		if s.Word != c.word || !strings.Contains(s.Reason, c.reason) || (s.Fix == "") != (c.word == "") || c.word != "" && !s.Since.Equal(since) {
			t.Errorf("%s: %+v", name, s)
		}
		if c.reason == "paused by anna: why" && s.Reason != c.reason {
			t.Errorf("%s: the reason is %q", name, s.Reason)
		}
	}
}

// What was begun under a right ends with it, however many heartbeats extended it.
func TestTheContextOfARightLastsAsLongAsTheRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLeader()
		l := start(t, b)
		synctest.Wait()
		open := l.Open()
		time.Sleep(5 * beatEvery)
		if l.Open() != open || open.Err() != nil {
			t.Error("a heartbeat began another period")
		}
		b.write(Lane{State: Paused, By: "anna"})
		time.Sleep(beatEvery)
		synctest.Wait()
		if open.Err() == nil {
			t.Error("the context outlives the right")
		}
	})
}

func TestABlockedLaneSaysSinceWhenAndWhy(t *testing.T) {
	for name, c := range map[string]struct {
		answered int32 // requests before the server is cut off
		since    time.Duration
	}{
		// The heartbeat of the full hour was the last that was stored.
		"no heartbeat is stored": {0, time.Hour + BeginWithin},
		// The next one is refused because the key has changed, and that cannot be read.
		"the key cannot be read": {1, time.Hour + beatEvery},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, started := newLeader(), time.Now()
				var left atomic.Int32
				left.Store(1 << 30)
				b.before = func() error {
					if left.Add(-1) < 0 {
						return errors.New("cut off")
					}
					return nil
				}
				l := start(t, b)
				time.Sleep(time.Hour)
				synctest.Wait()
				left.Store(c.answered)
				b.write(Lane{State: Paused})
				time.Sleep(time.Minute)
				synctest.Wait()
				s := l.State()
				if want := started.Add(c.since); s.Word != Blocked || !strings.Contains(s.Reason, "cut off") || !s.Since.Equal(want) {
					t.Errorf("%+v, want since %s", s, want)
				}
			})
		})
	}
}

func TestAWorkerThatStoppedHasNoRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, l := newLeader(), still()
		l.bucket = b
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { l.Run(context.WithoutCancel(ctx), ctx, func() string { return Running }) })
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		cancel()
		run.Wait()
		if l.MayCall() || l.Open().Err() == nil || !b.last().Stopped {
			t.Errorf("may call %v, open %v, %+v", l.MayCall(), l.Open().Err(), b.last())
		}
	})
}

func TestAPauseCanBeEndedBeforeItsTime(t *testing.T) {
	js := newServer(t)
	if _, _, err := Pause(t.Context(), js, kvTarget, "r", "anna", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	before, after, err := Resume(t.Context(), js, kvTarget, "ben")
	if err != nil || before.State != Paused || after.By != "ben" || after.Sequence <= before.Sequence {
		t.Errorf("%+v, %+v, %v", before, after, err)
	}
	if l := lane(t, js); l.State != Running || !l.Until.IsZero() {
		t.Errorf("the key is %+v", l)
	}
}

// A pause is never refused because another person paused, too.
func TestManyPeopleMayPauseAtTheSameTime(t *testing.T) {
	js := newServer(t)
	var people sync.WaitGroup
	for range 8 {
		people.Go(func() {
			if _, after, err := Pause(t.Context(), js, kvTarget, "r", "anna", time.Time{}); err != nil || after.State != Paused {
				t.Errorf("%+v, %v", after, err)
			}
		})
	}
	people.Wait()
}
