package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// leader is the leader of the bucket's stream, without a network.
type leader struct {
	mu     sync.Mutex
	lane   Lane
	beats  []heartbeat
	skew   time.Duration // of its clock
	before func() error  // runs before a request arrives; may be nil
	after  func() error  // runs before its answer arrives; may be nil
}

func newLeader() *leader {
	return &leader{lane: Lane{Target: events.KVUserContext, State: Running, Sequence: 1}}
}

// write stores another key.
func (b *leader) write(lane Lane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lane.Target, lane.Sequence = events.KVUserContext, b.lane.Sequence+1
	b.lane = lane
}

func (b *leader) request(do func() error) error {
	if b.before != nil {
		if err := b.before(); err != nil {
			return err
		}
	}
	b.mu.Lock()
	err := do()
	b.mu.Unlock()
	if b.after != nil {
		if lost := b.after(); lost != nil {
			return lost
		}
	}
	return err
}

func (b *leader) read(context.Context) (lane Lane, err error) {
	err = b.request(func() error { lane = b.lane; return nil })
	return lane, err
}

func (b *leader) beat(_ context.Context, h heartbeat, expected uint64) error {
	return b.request(func() error {
		if expected != b.lane.Sequence {
			return &jetstream.APIError{ErrorCode: codeOtherKey}
		}
		b.beats = append(b.beats, h)
		return nil
	})
}

func (b *leader) beatUnguarded(_ context.Context, h heartbeat) error {
	return b.request(func() error { b.beats = append(b.beats, h); return nil })
}

func (b *leader) now(context.Context) (now time.Time, err error) {
	err = b.request(func() error { now = time.Now().Add(b.skew); return nil })
	return now, err
}

// last returns the last heartbeat.
func (b *leader) last() heartbeat {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.beats[len(b.beats)-1]
}

// start runs a lease on b until the test ends.
func start(t *testing.T, b bucket) *Lease {
	t.Helper()
	l := newLease(b, Config{Target: events.KVUserContext, Instance: "w1", CallTimeout: time.Second, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx, ctx, func() string { return Running })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return l
}

// allowed returns until when a call may begin if it asks now; zero if it may not.
func allowed(l *Lease) time.Time {
	defer l.End()
	return l.Begin(time.Now().Add(time.Hour))
}

func TestACallMayBeginWithin10SecondsOfSendingAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLeader()
		var down atomic.Bool
		b.before = func() error {
			time.Sleep(time.Second)
			if down.Load() {
				return errors.New("no server")
			}
			return nil
		}
		b.after = func() error { time.Sleep(500 * time.Millisecond); return nil }
		started := time.Now()
		l := start(t, b)
		if !allowed(l).IsZero() || l.Open().Err() == nil {
			t.Error("a call may begin before the first heartbeat")
		}
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Reading the key took 1.5 s; then the heartbeat was sent.
		sent := started.Add(1500 * time.Millisecond)
		if got := allowed(l); !got.Equal(sent.Add(10 * time.Second)) {
			t.Errorf("a call may begin until %s after the sending, want 10 s", got.Sub(sent))
		}
		if soon := time.Now().Add(time.Second); !l.Begin(soon).Equal(soon) {
			t.Error("the call's own deadline does not count")
		}
		l.End()

		down.Store(true)
		open := l.Open()
		time.Sleep(time.Until(sent.Add(10*time.Second)) - time.Millisecond)
		if allowed(l).IsZero() || open.Err() != nil {
			t.Error("the right ended early")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !allowed(l).IsZero() || l.MayCall() || open.Err() == nil {
			t.Error("a call may begin 10 s after the sending of the last heartbeat")
		}
		time.Sleep(Tolerance)
		if s := l.State(); s.Word != Blocked || s.Fix == "" || s.Reason == "" {
			t.Errorf("the state is %+v", s)
		}
		down.Store(false)
		if err := l.Wait(t.Context()); err != nil || allowed(l).IsZero() || l.State().Word != "" {
			t.Errorf("the right does not come back: %v, %+v", err, l.State())
		}
	})
}

func TestAPauseIsSeenByTheNextHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLeader()
		l := start(t, b)
		synctest.Wait()
		open := l.Open()
		l.Begin(time.Now()) // a call is in flight
		b.write(Lane{State: Paused, Reason: "vendor asked", By: "anna", Since: time.Now()})
		time.Sleep(beatEvery)
		synctest.Wait()
		if !allowed(l).IsZero() || open.Err() == nil {
			t.Error("a call may begin after the refused heartbeat")
		}
		if s := l.State(); s.Word != Paused || s.Reason != "paused by anna: vendor asked" || s.Fix != "run `lethe resume kv-user-context`" {
			t.Errorf("the state is %+v", s)
		}
		last := b.last()
		if last.Key != 2 || last.MayCall || last.Calls != 1 {
			t.Errorf("the last heartbeat is %+v", last)
		}
		l.End()
		time.Sleep(time.Hour)
		if !allowed(l).IsZero() {
			t.Error("a call may begin in the pause")
		}
		if last := b.last(); last.Calls != 0 {
			t.Errorf("the last heartbeat is %+v", last)
		}
		b.write(Lane{State: Running, By: "ben"})
		time.Sleep(beatEvery)
		synctest.Wait()
		if allowed(l).IsZero() || l.Open().Err() != nil || l.State().Word != "" {
			t.Error("no call may begin after the lane was resumed")
		}
	})
}

// The worker's own clock is that of the test. The server's is behind or ahead.
func TestAPauseEndsByItselfWhenNoClockIsBeforeItsEnd(t *testing.T) {
	for _, skew := range []time.Duration{-Tolerance, 0, Tolerance} {
		t.Run(fmt.Sprint("the server's clock is ahead by ", skew), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newLeader()
				b.skew = skew
				until := time.Now().Add(time.Minute)
				b.write(Lane{State: Paused, Until: until})
				l := start(t, b)
				for allowed(l).IsZero() {
					if time.Since(until) > 2*Tolerance+2*beatEvery {
						t.Fatal("the pause does not end")
					}
					time.Sleep(100 * time.Millisecond)
				}
				if begun := time.Now(); begun.Before(until) || begun.Add(skew).Before(until) {
					t.Errorf("a call may begin %s before the end", until.Sub(begun))
				}
				if s := l.State(); s.Word != "" {
					t.Errorf("the state is %+v", s)
				}
				b.write(Lane{State: Paused})
				time.Sleep(beatEvery)
				synctest.Wait()
				if !allowed(l).IsZero() {
					t.Error("the next pause is not seen")
				}
			})
		})
	}
}

func TestWithoutAReadableKeyNoCallMayBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLeader()
		l := start(t, b)
		synctest.Wait()
		b.write(Lane{State: Unreadable, Reason: "deleted"})
		time.Sleep(beatEvery)
		synctest.Wait()
		if !allowed(l).IsZero() {
			t.Error("a call may begin")
		}
		if s := l.State(); s.Word != Blocked || !strings.Contains(s.Fix, "`lethe setup`") {
			t.Errorf("the state is %+v", s)
		}
		b.write(Lane{State: Running})
		time.Sleep(beatEvery)
		synctest.Wait()
		if allowed(l).IsZero() || l.State().Word != "" {
			t.Error("no call may begin after `lethe setup`")
		}
	})
}

// Whatever happens to requests and answers, no right to call lasts longer than 10 s after
// a pause was stored.
func TestNoCallMayBegin10SecondsAfterAPause(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0)) // the test's
			faults := rand.New(rand.NewPCG(seed, 1)) // the lease's, one request after the other
			b := newLeader()
			fault := func() error {
				switch faults.IntN(6) {
				case 0:
					time.Sleep(time.Duration(faults.Int64N(int64(20 * time.Second)))) // a stopped process, a slow network
				case 1:
					return errors.New("lost")
				case 2:
					return &jetstream.APIError{ErrorCode: codeInFlight}
				}
				time.Sleep(time.Duration(faults.Int64N(int64(100 * time.Millisecond))))
				return nil
			}
			b.before, b.after = fault, fault
			l := start(t, b)
			begun := 0
			for range 20 {
				time.Sleep(time.Duration(random.Int64N(int64(30 * time.Second))))
				b.write(Lane{State: Paused})
				paused := time.Now()
				for time.Since(paused) < time.Minute {
					if until := allowed(l); until.Sub(paused) > BeginWithin {
						t.Fatalf("seed %d: %s after the pause a call may begin until %s after it", seed, time.Since(paused), until.Sub(paused))
					}
					time.Sleep(time.Duration(random.Int64N(int64(2 * time.Second))))
				}
				b.write(Lane{State: Running})
				time.Sleep(30 * time.Second)
				if !allowed(l).IsZero() {
					begun++
				}
			}
			if begun == 0 {
				t.Errorf("seed %d: no call may ever begin", seed)
			}
		})
	}
}
