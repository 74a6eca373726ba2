package natsconn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// counted counts the writes of a connection.
type counted struct {
	net.Conn
	writes atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func TestWritesDuringAWriteAreCombined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		under := &counted{Conn: near}
		c := newCoalesced(under)
		var want bytes.Buffer
		for i := range 1000 {
			if i == 1 {
				synctest.Wait() // the first write blocks, because nothing reads it
			}
			line := fmt.Sprintf("line %d\n", i)
			want.WriteString(line)
			if _, err := io.WriteString(c, line); err != nil {
				t.Fatal(err)
			}
		}
		got := make(chan []byte)
		go func() { all, _ := io.ReadAll(far); got <- all }()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if all := <-got; !bytes.Equal(all, want.Bytes()) {
			t.Errorf("read %d bytes of %d, or others", len(all), want.Len())
		}
		if n := under.writes.Load(); n != 2 {
			t.Errorf("%d writes", n)
		}
		_ = far.Close()
	})
}

// All writes arrive complete and in order, and Close waits for them.
func TestCoalescedWritesLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		got := make(chan []byte)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				got <- nil
				return
			}
			all, _ := io.ReadAll(conn)
			_ = conn.Close()
			got <- all
		}()
		var dialer coalescingDialer
		c, err := dialer.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		for i, n := range rapid.SliceOfN(rapid.IntRange(0, 3*maxWaiting), 0, 20).Draw(t, "portions") {
			portion := bytes.Repeat([]byte{byte(i)}, n)
			want.Write(portion)
			if n, err := c.Write(portion); n != len(portion) || err != nil {
				t.Fatalf("wrote %d of %d: %v", n, len(portion), err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if all := <-got; !bytes.Equal(all, want.Bytes()) {
			t.Errorf("read %d bytes of %d, or others", len(all), want.Len())
		}
	})
}

func TestCoalescedWritesToABlockedLink(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, c *coalesced){
		"block while the buffer is full, and time out": func(t *testing.T, c *coalesced) {
			begun := time.Now()
			var err error
			for n := 0; err == nil; n++ {
				if n > 3*maxWaiting/1024 {
					t.Fatalf("%d KiB are buffered", n)
				}
				_, err = c.Write(make([]byte, 1024))
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != writeWithin {
				t.Errorf("%v after %s", err, time.Since(begun))
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading: %v", err)
			}
			if err := c.Close(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("closing: %v", err)
			}
		},
		"do not block Close": func(t *testing.T, c *coalesced) {
			begun := time.Now()
			if _, err := io.WriteString(c, "hello"); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != closeWithin {
				t.Errorf("%v after %s", err, time.Since(begun))
			}
		},
		"fail when the connection is closed": func(t *testing.T, c *coalesced) {
			failed := make(chan error)
			go func() {
				var err error
				for err == nil {
					_, err = c.Write(make([]byte, maxWaiting))
				}
				failed <- err
			}()
			synctest.Wait()
			_ = c.Close()
			if err := <-failed; err == nil {
				t.Error("a write after closing")
			}
			if _, err := c.Write(nil); err == nil {
				t.Error("a write after closing")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer func() { _ = far.Close() }()
				test(t, newCoalesced(near))
			})
		})
	}
}

// closingServer is a connection to a server that sent data before it closed.
type closingServer struct{ net.Conn }

func (c closingServer) Read(p []byte) (int, error) {
	if _, err := c.Conn.Read(p); err != io.EOF { //nolint:errorlint // readers return io.EOF unwrapped
		return 0, err
	}
	return copy(p, "-ERR"), io.EOF
}

func TestACoalescedWriteFailsAfterAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newCoalesced(closingServer{near})
		_ = far.Close()
		if _, err := io.WriteString(c, "the first write is only buffered"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := io.WriteString(c, "hello"); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%v", err)
		}
		if data, err := io.ReadAll(c); string(data) != "-ERR" || err != nil {
			t.Errorf("read %q, %v", data, err)
		}
		_ = c.Close()
	})
}
