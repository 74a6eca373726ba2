package consumer

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// clock tells the time by the NATS server's clock, which all workers share:
// schedules fire by it and leases are judged by it. Between measurements it
// runs on this process's monotonic clock, so that a wall clock that jumps moves
// nothing.
//
// On Linux the monotonic clock stands still while a machine is suspended. What
// ends a right to call is therefore checked on the wall clock too, by [deleter.Passed],
// and the server is asked for its time again once the two have diverged.
type clock struct {
	start  time.Time
	offset atomic.Int64 // server minus start's wall clock, nanoseconds
	// Replaced by tests for a suspended machine: the wall clock alone, and whether a
	// deadline has passed by either clock.
	wall   func() time.Time
	passed func(time.Time) bool

	asked  atomic.Pointer[moment] // when the server was last asked for its time
	asking sync.Mutex
	skewed atomic.Bool // the wall clock and the server's were too far apart then
}

// moment is a point in time by both clocks of this machine.
type moment struct {
	elapsed time.Duration // since the clock's start, monotonic
	wall    time.Time
}

func newClock() *clock {
	return &clock{start: time.Now(), wall: func() time.Time { return time.Now().Round(0) }, passed: deleter.Passed}
}

func (c *clock) local() time.Time {
	return c.start.Add(time.Since(c.start))
}

// now is the server's time.
func (c *clock) now() time.Time {
	return c.local().Add(time.Duration(c.offset.Load())).UTC()
}

// diverged reports whether the wall clock and the monotonic clock have moved differently
// since the server was asked for its time: the machine was suspended, or its wall
// clock was set.
func (c *clock) diverged() bool {
	asked := c.asked.Load()
	if asked == nil {
		return false
	}
	drift := c.wall().Sub(asked.wall) - (time.Since(c.start) - asked.elapsed)
	return drift.Abs() > ledger.ClockTolerance
}

// measured sets the offset of the server's clock, which was read at some moment between
// asked and answered, both by local.
func (c *clock) measured(server, asked, answered time.Time) {
	if server.IsZero() {
		return
	}
	middle := asked.Add(answered.Sub(asked) / 2)
	c.offset.Store(int64(server.Sub(middle)))
}

// measure asks the server for its time, which rides along with every stream's
// information. It warns once if this machine's wall clock differs from it by more than
// [ledger.ClockTolerance].
func (c *clock) measure(ctx context.Context, js jetstream.JetStream, log *slog.Logger) error {
	at := moment{time.Since(c.start), c.wall()}
	asked := c.local()
	stream, err := js.Stream(ctx, events.StreamRequests)
	if err != nil {
		return err
	}
	answered := c.local()
	server := stream.CachedInfo().TimeStamp
	c.measured(server, asked, answered)
	c.asked.Store(&at)
	c.compare(server, at.wall, answered.Sub(asked), log)
	return nil
}

// compare warns if the server's clock differs from this machine's wall clock. asked is
// the wall clock's time at the start of the request, took the request's duration.
func (c *clock) compare(server, asked time.Time, took time.Duration, log *slog.Logger) {
	if server.IsZero() {
		return
	}
	ahead := asked.Add(took / 2).Sub(server) // exact to half the time that the request took
	skewed := ahead.Abs()-took/2 > ledger.ClockTolerance
	if skewed && !c.skewed.Load() {
		log.Warn("this machine's clock and the server's differ; synchronize them, or leases are misjudged",
			"difference", ahead.Round(time.Millisecond).String(), "allowed", ledger.ClockTolerance.String())
	}
	c.skewed.Store(skewed)
}

// correct asks the server for its time if the clocks of this machine have diverged.
func (c *clock) correct(ctx context.Context, js jetstream.JetStream, log *slog.Logger) {
	if !c.diverged() {
		return
	}
	c.asking.Lock()
	defer c.asking.Unlock()
	if !c.diverged() {
		return
	}
	log.Warn("this machine was suspended, or its clock was set; asking the server for its time")
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := c.measure(ctx, js, log); err != nil {
		// A clock that is behind treats leases as longer than they are.
		log.Debug("cannot ask the server for its time", "error", err)
	}
}
