package deleter

import (
	"net"
	"sync"
)

// readTracker tracks whether the reader of a connection has read all received bytes
// and waits for more. It detects an answer that came before its request (response
// desynchronisation).
type readTracker struct {
	mu      sync.Mutex
	waits   chan struct{} // closed while the reader waits
	waiting bool
	over    bool
}

func newReadTracker() *readTracker { return &readTracker{waits: make(chan struct{})} }

func (r *readTracker) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.waiting {
		r.waiting = true
		close(r.waits)
	}
}

// end records that a read returned. After an error no read follows, and nothing waits for
// one.
func (r *readTracker) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.over = true
	}
	if !r.over && r.waiting {
		r.waiting = false
		r.waits = make(chan struct{})
	}
}

func (r *readTracker) stop() {
	r.begin()
	r.end(net.ErrClosed)
}

func (r *readTracker) done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waits
}

// waitUntilRead returns when all bytes that arrived before the call are read from its
// connection, or when the call has ended. On HTTP/1 the next bytes count as the answer,
// whenever they arrived: a second answer to the previous call would count as the answer
// to this one. Such an answer shuts the fence.
//
// The reader itself may wait here, in vain: crypto/tls writes an alert or a key update
// while it reads. No time-out of the transport helps then, because closing a TLS
// connection waits for its writes. So the end of the call shuts the fence.
func waitUntilRead(r *readTracker, f *fence) {
	select {
	case <-r.done():
	case <-f.settled:
	case <-f.ended:
		f.close(errEnded)
	}
}
