package consumer

import (
	"context"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

// defaultMaxBytes is how many bytes of messages a lane may have in flight where
// [Config].MaxBytesInFlight is 0.
const defaultMaxBytes = 32 << 20

// byteLimit limits the bytes of the messages of one stream that a lane has in flight. A
// pull requests a number of messages: the free bytes divided by the size of the latest
// messages, or by the largest possible size before the first one. (A pull limited by
// bytes would be simpler, but a clustered server then repeatedly ends pulls with "Batch
// Completed" and no message, while messages wait.)
type byteLimit struct {
	limit int64
	freed chan struct{} // has a signal for the caller that waits in reserve

	mu       sync.Mutex
	reserved int64 // bytes in flight, and bytes that a pull may bring
	expect   int64 // bytes of the next message
}

// newByteLimit returns a limit in bytes. largest is the size of the largest possible
// message.
func newByteLimit(limit, largest int64) *byteLimit {
	return &byteLimit{limit: limit, freed: make(chan struct{}, 1), expect: max(largest, 1)}
}

// reserve waits until a message fits, and reserves bytes for up to maxMessages. It
// returns for how many messages, and how many bytes for each. ok is false when stop
// ends first. Only one goroutine at a time may call it.
func (b *byteLimit) reserve(stop context.Context, maxMessages int) (n int, each int64, ok bool) {
	for stop.Err() == nil {
		b.mu.Lock()
		each = b.expect
		n = int(min((b.limit-b.reserved)/each, int64(maxMessages)))
		if n < 1 && b.reserved == 0 {
			n = 1 // a message that is larger than the limit is fetched alone
		}
		if n >= 1 {
			b.reserved += int64(n) * each
		}
		b.mu.Unlock()
		if n >= 1 {
			return n, each, true
		}
		select {
		case <-stop.Done():
		case <-b.freed:
		}
	}
	return 0, 0, false
}

// learn updates the expected size of messages: a larger message raises it at once,
// smaller ones lower it slowly.
func (b *byteLimit) learn(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expect = max(bytes, b.expect-(b.expect-bytes+15)/16, 1)
}

// add counts the bytes of a message in flight.
func (b *byteLimit) add(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved += bytes
}

// release frees bytes.
func (b *byteLimit) release(bytes int64) {
	b.mu.Lock()
	b.reserved -= bytes
	b.mu.Unlock()
	select {
	case b.freed <- struct{}{}:
	default:
	}
}

// deliveryOverhead is about how many bytes a delivery needs beside its message.
const deliveryOverhead = 1 << 10

// bytesOf returns the size of a message as it is now; nats.go's Size is that on arrival.
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

// minCompactSize is the size from which on a message is replaced by the request read from it.
const minCompactSize = 4 << 10

// compact replaces the event of a large message by one with the same request and without
// the rest, such as extensions, which would only use memory.
func compact(msg *nats.Msg, r *events.Request) {
	before := bytesOf(msg)
	if before < minCompactSize {
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
	r.ID, r.Source = strings.Clone(r.ID), strings.Clone(r.Source) // they point into the old body
	msg.Data, msg.Header = body, header
}
