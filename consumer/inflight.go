package consumer

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

// delivery is a message in flight, with what was read from it.
type delivery struct {
	*nats.Msg
	seq            uint64    // on its stream
	storedAt       time.Time // on its stream, by the server's clock
	receivedAt     time.Time // by this worker
	numDelivered   uint64    // deliveries by its consumer, this one included
	due            bool      // from DELETION_LATER, so its headers are the worker's own
	request        events.Request
	invalid        error                     // why the event is invalid
	rawFingerprint string                    // of an invalid event: the fingerprint of its content
	extendedAt     atomic.Pointer[time.Time] // when the ack deadline was last extended, or before
	byteLimit      *byteLimit                // counts the message's bytes,
	bytes          int64                     // the number of these bytes

	prefetched atomic.Bool // it counts as prefetched
}

// ackDeadline is until when the worker may rely on having the message. Later the server
// may deliver it to another one: it waits ackWait after an extension. Half of that leaves
// room for extensions that were lost with a connection.
func (d *delivery) ackDeadline(ackWait time.Duration) time.Time {
	return d.extendedAt.Load().Add(ackWait / 2)
}

// extend extends the ack deadline, unless another worker may have the message by now: it
// would extend that worker's deadline.
func (d *delivery) extend(c *clock, ackWait time.Duration) error {
	now := time.Now()
	if c.passed(d.extendedAt.Load().Add(ackWait)) {
		return nil
	}
	if err := d.InProgress(); err != nil {
		return err
	}
	d.extendedAt.Store(&now)
	return nil
}

// inflight is the deliveries that a lane has received and not yet settled.
type inflight struct {
	mu         sync.Mutex
	deliveries map[*delivery]struct{}
	ids        map[string]struct{}
}

func newInflight() *inflight {
	return &inflight{deliveries: map[*delivery]struct{}{}, ids: map[string]struct{}{}}
}

// add adds a delivery. It returns false if another of the same id is in flight: if
// both were worked on at the same time, the later one would often be answered first.
func (f *inflight) add(d *delivery) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id := d.request.ID; id != "" { // an invalid event may have a request's id
		if _, exists := f.ids[id]; exists {
			return false
		}
		f.ids[id] = struct{}{}
	}
	f.deliveries[d] = struct{}{}
	return true
}

// remove removes a delivery, if it is in.
func (f *inflight) remove(d *delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, in := f.deliveries[d]; !in {
		return
	}
	delete(f.deliveries, d)
	delete(f.ids, d.request.ID)
}

func (f *inflight) all() []*delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.deliveries))
}

// oldest is when the oldest delivery in flight was stored, by the server's clock,
// zero if there is none.
func (f *inflight) oldest() (oldest time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for d := range f.deliveries {
		if oldest.IsZero() || d.storedAt.Before(oldest) {
			oldest = d.storedAt
		}
	}
	return oldest
}

func (f *inflight) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.deliveries)
}
