package natsconn

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

// coalesced is a connection that combines concurrent writes. The client library
// writes after each publish, often before other goroutines can publish, and each
// write costs a system call here and one at the server (docs/decisions/0011).
//
// Write therefore only buffers. A goroutine yields to all others that can run and
// then writes the buffer. If no other can run, it writes immediately. It ends when
// the buffer is empty, because the library drops connections without closing them.
type coalesced struct {
	net.Conn

	mu      sync.Mutex
	changed sync.Cond // broadcast when a field below changes
	waiting []byte
	spare   []byte // the other buffer, for writes during a write
	writing bool
	closing bool
	err     error
}

const (
	// maxWaiting is the size of the buffer above which Write blocks.
	maxWaiting = 64 << 10
	// writeWithin is the timeout of a write, after which the link counts as dead.
	writeWithin = 3 * pingEvery
	// closeWithin limits how long Close waits for buffered data to be written.
	closeWithin = time.Second
)

func newCoalesced(conn net.Conn) *coalesced {
	c := &coalesced{Conn: conn}
	c.changed.L = &c.mu
	return c
}

// Write buffers p. It returns the error of an earlier write, or [net.ErrClosed].
func (c *coalesced) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) >= maxWaiting && c.err == nil && !c.closing {
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

// writeAll writes until the buffer is empty or a write fails. After a timeout it
// closes the connection, so that a blocked Read returns. After other errors, Read
// fails by itself once it has returned the server's last data.
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

// Read reads from the connection. If a write timeout closed it, Read returns that
// error.
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

// Close writes the buffer and closes the connection. It returns the error of writing,
// or else of closing.
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

// SetDeadline sets the deadline of reads only. Each write has its own timeout.
func (c *coalesced) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: see SetDeadline.
func (c *coalesced) SetWriteDeadline(time.Time) error { return nil }

// coalescingDialer makes coalesced connections for the client library.
type coalescingDialer struct{ net.Dialer }

// Dial opens a connection.
func (d *coalescingDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return newCoalesced(conn), nil
}
