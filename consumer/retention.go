package consumer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// retention caches how long the server keeps records.
type retention struct {
	reading sync.Mutex // held while one asks the server
	latest  atomic.Pointer[retentionInfo]
}

// retentionInfo is how long records are kept, as read from the server at some time.
type retentionInfo struct {
	asked    time.Time     // when the worker asked for it
	maxAge   time.Duration // of the results stream, 0 for forever
	created  time.Time     // the results stream
	first    uint64        // sequence of the results stream's first message
	consumer time.Time     // when the requests' consumer was created
}

// get returns what was read last, without asking the server.
func (r *retention) get() retentionInfo {
	if k := r.latest.Load(); k != nil {
		return *k
	}
	return retentionInfo{}
}

// recent reports whether it was read since the last check of the streams.
func (k retentionInfo) recent() bool { return time.Since(k.asked) < checkEvery }

// expired reports whether records as old as a delivery's message may be gone.
func (k retentionInfo) expired(d *delivery, now time.Time) bool {
	return k.maxAge > 0 && now.Add(ledger.ClockTolerance).Sub(d.storedAt) >= k.maxAge
}

// read asks the server.
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
	r.latest.Store(&retentionInfo{asked, info.Config.MaxAge, info.Created, info.State.FirstSeq, consumer.CachedInfo().Created})
	return nil
}
