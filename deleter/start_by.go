package deleter

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

type startByKey struct{}

// StartBy returns a context whose calls are not made after t. A call that was
// begun by then goes on; one that was not answers [Retry], with nothing
// deleted. It is for callers whose right to call ends at a time, and it holds
// for a process that was stopped on its way to the connection, too.
func StartBy(ctx context.Context, t time.Time) context.Context {
	return context.WithValue(ctx, startByKey{}, t)
}

var errTooLate = errors.New("the call was not begun in time")

// lastMoment is when one call must have begun.
type lastMoment struct {
	at     time.Time               // zero for no limit
	missed atomic.Bool             // nothing was written
	cancel context.CancelCauseFunc // of the call
}

func newLastMoment(ctx context.Context, cancel context.CancelCauseFunc) *lastMoment {
	at, _ := ctx.Value(startByKey{}).(time.Time)
	return &lastMoment{at: at, cancel: cancel}
}

func (m *lastMoment) over() bool { return !m.at.IsZero() && !time.Now().Before(m.at) }

// guard has the first write of a call on conn checked. A connection of HTTP/2
// carries other calls' writes too, so there the call is broken off beforehand,
// and nobody knows how far it got.
func (m *lastMoment) guard(conn net.Conn, multiplexed bool) {
	if multiplexed {
		if m.over() {
			m.cancel(errTooLate)
		}
		return
	}
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if gated, ok := conn.(*gatedConn); ok {
		gated.next.Store(m)
	}
}

// gatedConn is a connection whose next write has a last moment. The standard
// write deadline would not do: a timer keeps it, which a process that wakes up
// outruns.
type gatedConn struct {
	net.Conn
	next    atomic.Pointer[lastMoment]
	reading *reading
}

// Read reads, and lets it be known while it waits.
func (c *gatedConn) Read(p []byte) (int, error) {
	c.reading.begin()
	n, err := c.Conn.Read(p)
	c.reading.end(err)
	return n, err
}

// Close closes the connection. Nobody waits for its reader any more.
func (c *gatedConn) Close() error {
	defer c.reading.stop()
	return c.Conn.Close()
}

// Write writes p, unless it is the first of a call that comes too late.
func (c *gatedConn) Write(p []byte) (int, error) {
	if m := c.next.Swap(nil); m != nil && m.over() {
		m.missed.Store(true)
		m.cancel(errTooLate) // rather than try it on another connection
		return 0, errTooLate
	}
	return c.Conn.Write(p)
}

// gated gives a dialer's connections their gates.
func gated(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &gatedConn{Conn: conn, reading: newReading()}, nil
	}
}
