package deleter

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// fencedConn is a connection whose next write must pass a fence. The standard write
// deadline is not enough: a timer keeps it, and after a process was stopped the
// write may run before the timer.
type fencedConn struct {
	net.Conn
	fence  atomic.Pointer[fence]
	reads  *readTracker
	shared atomic.Bool // by several calls, as on HTTP/2
	ending atomic.Bool // no request follows
}

// fenced wraps a dialer so that each of its connections can have a fence.
func fenced(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &fencedConn{Conn: conn, reads: newReadTracker()}, nil
	}
}

// unwrap returns the fenced connection below conn, nil if there is none, and
// whether conn carries several calls at a time. Through a proxy that speaks TLS
// itself there is TLS within TLS.
func unwrap(conn net.Conn) (under *fencedConn, multiplexed bool) {
	outer, ok := conn.(*tls.Conn)
	multiplexed = ok && outer.ConnectionState().NegotiatedProtocol == "h2"
	for {
		switch c := conn.(type) {
		case *fencedConn:
			c.shared.Store(multiplexed)
			return c, multiplexed
		case *tls.Conn:
			conn = c.NetConn()
		default:
			return nil, multiplexed
		}
	}
}

// Read reads from the connection, and reports to the read tracker.
func (c *fencedConn) Read(p []byte) (int, error) {
	c.reads.begin()
	n, err := c.Conn.Read(p)
	c.reads.end(err)
	return n, err
}

// Close closes the connection, and ends every wait for its reader.
func (c *fencedConn) Close() error {
	defer c.reads.stop()
	return c.Conn.Close()
}

// SetWriteDeadline marks the connection as ending. On HTTP/1 only crypto/tls sets a write
// deadline, before the alert with which it closes; it writes no request afterwards. That
// alert passes the fence: the reader closes the connection when an answer came too early,
// and would wait for itself.
func (c *fencedConn) SetWriteDeadline(t time.Time) error {
	c.ending.Store(true)
	return c.Conn.SetWriteDeadline(t)
}

// Write writes p if the fence of the call lets its request begin.
func (c *fencedConn) Write(p []byte) (int, error) {
	f, shared := c.fence.Load(), c.shared.Load()
	if f == nil || c.ending.Load() && !shared {
		return c.Conn.Write(p)
	}
	if !shared {
		waitUntilRead(c.reads, f)
	}
	first, err := f.pass()
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if first && n == 0 && err != nil {
		f.failed(err)
	}
	if !shared {
		// On HTTP/2 the fence stays until the header is written: this may have been the
		// answer of crypto/tls to a key update, for which it takes no lock of HTTP/2.
		c.fence.CompareAndSwap(f, nil)
	}
	return n, err
}
