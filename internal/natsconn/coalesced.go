package natsconn

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

// coalesced is a connection that writes what many goroutines publish at the same
// time in one go. The client library writes as soon as one of them has published,
// which is often before the others could, and each write costs a system call here
// and another one at the server (docs/decisions/0011).
//
// So Write keeps what it is given, and a goroutine writes it when all others that
// can run have run. Where nobody else can, that is at once. It lives as long as
// something waits: the library forgets connections without closing them.
type coalesced struct {
	net.Conn

	mu      sync.Mutex
	changed sync.Cond // of the following
	waiting []byte
	spare   []byte // takes what is given while the other is written
	writing bool
	closing bool
	err     error
}

const (
	// mostWaiting is how many bytes may wait before Write waits for them.
	mostWaiting = 64 << 10
	// writeWithin bounds a write. A link that takes nothing for as long is dead.
	writeWithin = 3 * pingEvery
	// closeWithin bounds how long closing waits for what is still to be written.
	closeWithin = time.Second
)

func newCoalesced(conn net.Conn) *coalesced {
	c := &coalesced{Conn: conn}
	c.changed.L = &c.mu
	return c
}

// Write keeps p to be written soon. Its error is that of an earlier write, or
// [net.ErrClosed].
func (c *coalesced) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) >= mostWaiting && c.err == nil && !c.closing {
		c.changed.Wait()
	}
	switch {
	case c.err != nil:
		return 0, c.err
	case c.closing:
		return 0, net.ErrClosed
	}
	c.waiting = append(c.waiting, p...)
	if !c.writing {
		c.writing = true
		go c.writeAll()
	}
	return len(p), nil
}

// writeAll writes until nothing waits, or a write fails. Whoever reads finds out
// too, after what the server said last; of a link that takes nothing, because it is
// closed.
func (c *coalesced) writeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) > 0 && c.err == nil {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		now := c.waiting
		c.waiting = c.spare[:0]
		if !c.closing {
			_ = c.Conn.SetWriteDeadline(time.Now().Add(writeWithin)) // fails where the write does
		}
		c.changed.Broadcast()
		c.mu.Unlock()
		_, err := c.Conn.Write(now)
		c.mu.Lock()
		c.spare = now
		if c.err = err; errors.Is(err, os.ErrDeadlineExceeded) {
			_ = c.Conn.Close()
		}
	}
	c.writing = false
	c.changed.Broadcast()
}

// Read reads. Where the connection was closed because it takes nothing, its error
// says so.
func (c *coalesced) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if errors.Is(c.err, os.ErrDeadlineExceeded) {
			err = c.err
		}
	}
	return n, err
}

// Close closes the connection, after what waits was written. Its error is that of
// writing, or else of closing.
func (c *coalesced) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	_ = c.Conn.SetWriteDeadline(time.Now().Add(closeWithin)) // fails where the write does
	c.changed.Broadcast()
	for c.writing {
		c.changed.Wait()
	}
	err := c.Conn.Close()
	if c.err != nil {
		return c.err
	}
	return err
}

// SetDeadline bounds reading. How long writing may take is set for each write.
func (c *coalesced) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: see SetDeadline.
func (c *coalesced) SetWriteDeadline(time.Time) error { return nil }

// coalescingDialer gives the client library such connections.
type coalescingDialer struct{ net.Dialer }

// Dial connects.
func (d *coalescingDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return newCoalesced(conn), nil
}
