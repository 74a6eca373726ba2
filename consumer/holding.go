package consumer

import (
	"context"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

// defaultHold is how many bytes of messages a lane has in hand where
// [Config].Hold says nothing.
const defaultHold = 32 << 20

// holding bounds what a lane has in hand of one stream by its bytes. A pull asks
// for a number of messages; how many that may be depends on what the latest ones
// weighed, and on the worst while there were none. (A pull that is limited by
// bytes would be simpler, but a clustered server then ends pulls with "Batch
// Completed" and no message, again and again, while messages wait.)
type holding struct {
	most  int64
	freed chan struct{} // holds a signal for the one that waits in ask

	mu     sync.Mutex
	held   int64 // what is in hand, and what a pull may bring
	expect int64 // bytes of the next message
}

// newHolding bounds by most bytes. worst is the largest message that can come.
func newHolding(most, worst int64) *holding {
	return &holding{most: most, freed: make(chan struct{}, 1), expect: max(worst, 1)}
}

// ask waits until there is room for a message, and reserves room for up to most.
// It returns for how many, and what was reserved for each. It says no when stop
// ends first. Only one at a time may call it.
func (h *holding) ask(stop context.Context, most int) (n int, each int64, ok bool) {
	for stop.Err() == nil {
		h.mu.Lock()
		each = h.expect
		n = int(min((h.most-h.held)/each, int64(most)))
		if n < 1 && h.held == 0 {
			n = 1 // a message that is larger than the bound goes alone
		}
		if n >= 1 {
			h.held += int64(n) * each
		}
		h.mu.Unlock()
		if n >= 1 {
			return n, each, true
		}
		select {
		case <-stop.Done():
		case <-h.freed:
		}
	}
	return 0, 0, false
}

// learn takes in how many bytes a message had. What is expected follows a larger
// one at once, and smaller ones slowly.
func (h *holding) learn(bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expect = max(bytes, h.expect-(h.expect-bytes+15)/16, 1)
}

// keep counts what is in hand of a message.
func (h *holding) keep(bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held += bytes
}

// drop gives room back.
func (h *holding) drop(bytes int64) {
	h.mu.Lock()
	h.held -= bytes
	h.mu.Unlock()
	select {
	case h.freed <- struct{}{}:
	default:
	}
}

// perDelivery is about what a delivery takes beside its message.
const perDelivery = 1 << 10

// bytesOf is the bytes of a message as it is now; nats.go's own Size is as it came.
func bytesOf(msg *nats.Msg) int64 {
	bytes := len(msg.Subject) + len(msg.Reply) + len(msg.Data)
	for name, values := range msg.Header {
		bytes += len(name)
		for _, value := range values {
			bytes += len(value)
		}
	}
	return int64(bytes)
}

// heavy is from how many bytes on a message is kept as what was read from it.
const heavy = 4 << 10

// slim replaces the event of a heavy message by one that has the same request and
// nothing else, such as extensions. What becomes of the request is the same.
func slim(msg *nats.Msg, r *events.Request) {
	before := bytesOf(msg)
	if before < heavy {
		return
	}
	body, err := r.Encode()
	if err != nil || int64(len(body)) > before/2 {
		return
	}
	header := nats.Header{"content-type": {events.ContentType}}
	for name, values := range msg.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "lethe-") || lower == "traceparent" || lower == "tracestate" {
			header[name] = values
		}
	}
	r.ID, r.Source = strings.Clone(r.ID), strings.Clone(r.Source) // parts of what is dropped
	msg.Data, msg.Header = body, header
}
