package deleter

import (
	"net"
	"sync"
)

// reading says whether whoever reads a connection has used up all that came on
// it and waits for more.
type reading struct {
	mu      sync.Mutex
	waits   chan struct{} // closed while the reader waits
	waiting bool
	over    bool
}

func newReading() *reading { return &reading{waits: make(chan struct{})} }

func (r *reading) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.waiting {
		r.waiting = true
		close(r.waits)
	}
}

// end says that something came. After the connection's end nobody is to wait.
func (r *reading) end(err error) {
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

func (r *reading) stop() {
	r.begin()
	r.end(net.ErrClosed)
}

func (r *reading) done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waits
}

// inStep returns when nothing that came before the call is left on its
// connection, or when the call has ended. On HTTP/1 the next bytes are taken for
// the answer, whenever they came: a server or proxy that sent more than one answer
// to the call before would answer this one before it was made. Such an answer
// shuts the fence.
func inStep(r *reading, f *fence) {
	select {
	case <-r.done():
	case <-f.settled:
	}
}
