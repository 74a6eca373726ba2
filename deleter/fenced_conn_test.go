package deleter

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

var errCut = errors.New("the connection was cut")

// cutConn writes a number of bytes, and is cut then.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if n < len(p) {
		return n, errCut
	}
	return n, nil
}

func (c *cutConn) SetWriteDeadline(time.Time) error { return nil }

// A request of which a byte got out may have deleted, and is not sent again.
func TestARequestIsBegunOnceAByteOfItIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		left   int
		writes []string
		begun  bool
	}{
		"nothing gets out":                       {0, []string{"DELETE"}, false},
		"a part gets out":                        {1, []string{"DELETE"}, true},
		"the first write gets out, not the next": {3, []string{"DEL", "ETE"}, true},
		"all gets out":                           {6, []string{"DELETE"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &fencedConn{Conn: &cutConn{left: c.left}, reads: newReadTracker()}
			conn.shared.Store(true)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			f := newFence(ctx, cancel)
			conn.fence.Store(f)
			for _, part := range c.writes {
				_, _ = conn.Write([]byte(part))
			}
			if _, begun, _ := f.end(); begun != c.begun {
				t.Errorf("begun: %v", begun)
			}
		})
	}
}

// On HTTP/2 the transport may set a write deadline for each frame. The next call is fenced
// all the same.
func TestAWriteDeadlineOpensNoFenceOfASharedConnection(t *testing.T) {
	conn := &fencedConn{Conn: &cutConn{left: 100}, reads: newReadTracker()}
	conn.shared.Store(true)
	if err := conn.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(WithStartDeadline(t.Context(), time.Now().Add(-time.Second)))
	defer cancel(nil)
	conn.fence.Store(newFence(ctx, cancel))
	if n, err := conn.Write([]byte("DELETE")); n != 0 || !errors.Is(err, errTooLate) {
		t.Errorf("%d bytes were written: %v", n, err)
	}
}
