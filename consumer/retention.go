package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// retention is what a worker knows of how long records are there.
type retention struct {
	mu       sync.Mutex
	asked    time.Time     // when the worker asked for it
	maxAge   time.Duration // of the results stream, 0 for forever
	created  time.Time     // the results stream
	first    uint64        // sequence of the results stream's first message
	consumer time.Time     // when the requests' consumer was created
}

// recent says that it was read since the last check of the streams.
func (r *retention) recent() bool { return time.Since(r.asked) < checkEvery }

// expired says that records as old as a delivery's message may be gone.
func (r *retention) expired(d *delivery, now time.Time) bool {
	return r.maxAge > 0 && now.Add(ledger.ClockTolerance).Sub(d.storedAt) >= r.maxAge
}

// read asks the server, with the lock held.
func (r *retention) read(ctx context.Context, js jetstream.JetStream, target events.Target) error {
	asked := time.Now()
	results, err := js.Stream(ctx, events.StreamResults)
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(ctx, events.StreamRequests, string(target))
	if err != nil {
		return err
	}
	info := results.CachedInfo()
	r.asked, r.maxAge, r.created, r.first, r.consumer = asked, info.Config.MaxAge, info.Created, info.State.FirstSeq, consumer.CachedInfo().Created
	return nil
}
