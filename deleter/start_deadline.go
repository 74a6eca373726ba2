package deleter

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync"
	"time"
)

type startDeadlineKey struct{}

// WithStartDeadline returns a context whose calls do not begin once t has [Passed].
// A call that began before may take longer; one that did not gives [Retry], with
// nothing deleted. It serves callers whose right to call expires. It also works if
// the process or the machine is stopped just before the write.
func WithStartDeadline(ctx context.Context, t time.Time) context.Context {
	return context.WithValue(ctx, startDeadlineKey{}, t)
}

// StartDeadline returns the start deadline of ctx, and whether it has one. [Client]
// observes it. A deleter with a transport of its own must do so itself.
func StartDeadline(ctx context.Context) (t time.Time, ok bool) {
	t, ok = ctx.Value(startDeadlineKey{}).(time.Time)
	return t, ok
}

// Passed reports whether the time t has come by either clock. The monotonic one
// (CLOCK_MONOTONIC of Linux) stops while the machine is suspended; the wall
// clock can be set back.
func Passed(t time.Time) bool {
	now := time.Now()
	return !now.Before(t) || !now.Round(0).Before(t.Round(0)) // Round(0) takes the monotonic reading away
}

var (
	errTooLate  = errors.New("the call could not begin before its deadline")
	errEarly    = errors.New("an answer came before the call was made")
	errUnfenced = errors.New("the connection does not allow writes to be checked")
	errEnded    = errors.New("the call has ended")
)

// fence is between one try of a call and its connection. It lets the first byte of
// the request pass only before the start deadline, and records whether it did: a
// call that ends at the fence did not delete.
type fence struct {
	deadline time.Time               // zero for no start deadline
	cancel   context.CancelCauseFunc // of the try
	timer    *time.Timer             // nil without a start deadline

	settled chan struct{}   // closed once the fence is passed or shut
	ended   <-chan struct{} // closed when the try ends

	mu     sync.Mutex
	conn   bool  // a connection was there
	passed bool  // the request may have been written
	shut   error // why it never will be
}

func newFence(ctx context.Context, cancel context.CancelCauseFunc) *fence {
	f := &fence{cancel: cancel, settled: make(chan struct{}), ended: ctx.Done()}
	if by, ok := StartDeadline(ctx); ok {
		f.deadline = by
		f.timer = time.AfterFunc(time.Until(by), func() { f.close(errTooLate) })
	}
	return f
}

// trace returns the hooks that the transport calls during the try.
func (f *fence) trace() *httptrace.ClientTrace {
	var conn *fencedConn
	var multiplexed bool
	return &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) {
			conn, multiplexed = unwrap(got.Conn)
			f.got()
			switch {
			case conn == nil:
				f.close(errUnfenced)
				_ = got.Conn.Close() // so that nothing can be written to it
			case !multiplexed:
				conn.fence.Store(f) // until something is written
			}
		},
		// On HTTP/2 a connection carries the frames of other calls, too. Its lock for
		// writing is held from the first field's encoding until the frames are written.
		// A fence that is shut ends the whole connection: the fields are in its
		// compression state already. The transport asks the context before, so that
		// this takes a process that was stopped in between.
		WroteHeaderField: func(string, []string) {
			if multiplexed {
				conn.fence.Store(f)
			}
		},
		WroteHeaders: func() {
			if multiplexed {
				conn.fence.CompareAndSwap(f, nil)
			}
		},
		GotFirstResponseByte: func() {
			if !multiplexed {
				f.close(errEarly)
			}
		},
	}
}

func (f *fence) got() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn = true
}

// pass lets a write pass, or returns why it must not. first is true for the try's first
// one. A later one may be the first of the request: it must be in time, too.
func (f *fence) pass() (first bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	late := !f.deadline.IsZero() && Passed(f.deadline)
	if late {
		f.closeLocked(errTooLate)
	}
	switch {
	case f.shut != nil:
		return false, f.shut
	case f.passed && late:
		return false, errTooLate
	case f.passed:
		return false, nil
	}
	f.passed = true
	close(f.settled)
	return true, nil
}

// failed records that nothing of the first write was sent.
func (f *fence) failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passed, f.shut = false, err
}

// close shuts the fence and ends the try, unless the request has begun.
func (f *fence) close(reason error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closeLocked(reason)
}

func (f *fence) closeLocked(reason error) {
	if f.passed || f.shut != nil {
		return
	}
	f.shut = reason
	close(f.settled)
	f.cancel(reason)
}

// end shuts the fence: a request that has not begun is never written. connected: the try
// had a connection. passed: the request may have been written. shut is why it was not.
func (f *fence) end() (connected, passed bool, shut error) {
	if f.timer != nil {
		f.timer.Stop()
	}
	f.close(errEnded)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn, f.passed, f.shut
}
