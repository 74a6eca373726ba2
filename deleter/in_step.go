package deleter

import (
	"context"
	"crypto/tls"
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

// inStep returns when nothing that came before is left on a connection that a
// call has got. On HTTP/1 the next bytes are taken for the answer, whenever they
// came: a server or proxy that had sent more than one answer to the call before
// would answer this one before it was made. The transport looks for leftovers
// itself and closes the connection, but gives it to the next call first.
func inStep(ctx context.Context, conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	gated, ok := conn.(*gatedConn)
	if !ok {
		return
	}
	select {
	case <-gated.reading.done():
	case <-ctx.Done():
	}
}
