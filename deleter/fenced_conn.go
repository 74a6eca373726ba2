package deleter

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
)

// fencedConn is a connection whose next write has a fence to pass. The standard
// write deadline would not do: it is kept by a timer, which loses against the
// write when a process wakes up.
type fencedConn struct {
	net.Conn
	fence   atomic.Pointer[fence]
	reading *reading
	shared  atomic.Bool // by several calls, as on HTTP/2
}

// fenced gives a dialer's connections their fences.
func fenced(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &fencedConn{Conn: conn, reading: newReading()}, nil
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

// Read reads, and lets it be known while it waits.
func (c *fencedConn) Read(p []byte) (int, error) {
	c.reading.begin()
	n, err := c.Conn.Read(p)
	c.reading.end(err)
	return n, err
}

// Close closes the connection. Its reader is not waited for any more.
func (c *fencedConn) Close() error {
	defer c.reading.stop()
	return c.Conn.Close()
}

// Write writes p if the fence of the call whose request it begins lets it pass.
func (c *fencedConn) Write(p []byte) (int, error) {
	f := c.fence.Load()
	if f == nil {
		return c.Conn.Write(p)
	}
	if !c.shared.Load() {
		inStep(c.reading, f)
	}
	if err := f.pass(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if n == 0 && err != nil {
		f.failed(err)
	}
	c.fence.CompareAndSwap(f, nil)
	return n, err
}
