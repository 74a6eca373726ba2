package consumer

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// clock tells the time by the NATS server's clock, which all workers share:
// schedules fire by it and leases are judged by it. Between measurements it
// runs on this process's monotonic clock, so that a wall clock that jumps moves
// nothing.
type clock struct {
	start  time.Time
	offset atomic.Int64 // server minus start's wall clock, nanoseconds
}

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) local() time.Time {
	return c.start.Add(time.Since(c.start))
}

// now is the server's time.
func (c *clock) now() time.Time {
	return c.local().Add(time.Duration(c.offset.Load())).UTC()
}

// measured takes what the server's clock showed at some moment between asked
// and answered, both by local.
func (c *clock) measured(server, asked, answered time.Time) {
	if server.IsZero() {
		return
	}
	middle := asked.Add(answered.Sub(asked) / 2)
	c.offset.Store(int64(server.Sub(middle)))
}

// measure asks the server for its time, which rides along with every stream's
// information.
func (c *clock) measure(ctx context.Context, js jetstream.JetStream) error {
	asked := c.local()
	stream, err := js.Stream(ctx, events.StreamRequests)
	if err != nil {
		return err
	}
	c.measured(stream.CachedInfo().TimeStamp, asked, c.local())
	return nil
}
