package backlog

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// Every is how often a worker reads the backlog.
const Every = 15 * time.Second

// fresh is how long a Snapshot is valid, in intervals. If a server is gone for longer,
// no numbers are better than old ones.
const fresh = 4

// Poller reads the backlog at an interval. It is safe for concurrent use.
type Poller struct {
	js      jetstream.JetStream
	targets []events.Target
	every   time.Duration
	latest  atomic.Pointer[Snapshot]
}

// NewPoller returns a Poller of some targets that reads at most once in a time.
func NewPoller(js jetstream.JetStream, every time.Duration, targets ...events.Target) *Poller {
	return &Poller{js: js, every: every, targets: targets}
}

// Run reads until ctx ends, at once and then after each interval.
func (p *Poller) Run(ctx context.Context) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		if read := Read(ctx, p.js, p.targets...); ctx.Err() == nil {
			p.latest.Store(read)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Latest returns the latest Snapshot, nil if there is none or if it is too old.
func (p *Poller) Latest() *Snapshot {
	s := p.latest.Load()
	if s == nil || time.Since(s.At) > fresh*p.every {
		return nil
	}
	return s
}
