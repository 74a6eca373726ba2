package consumer

import (
	"context"
	"log/slog"
	"time"

	"github.com/lethe-dev/lethe/internal/failpoint"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// settlement is how a delivery is settled after its step.
type settlement string

const (
	// ack: the result or the next scheduled step is stored.
	ack settlement = "ack"
	// nakWithDelay: nothing was done; deliver it again, a little later.
	nakWithDelay settlement = "nak with delay"
	// nak: this worker stops; deliver it again at once, to another.
	nak settlement = "nak"
	// abandon: another worker is ahead with the same request and continues with it. An
	// acknowledgement would take the message from that worker, so none is sent, and the
	// server delivers again after ackWait.
	abandon settlement = "none"
)

// nakDelay is how much later a message with nakWithDelay is delivered again.
const nakDelay = 500 * time.Millisecond

// done settles a job. An error means that its step was not stored; nothing is lost,
// because the message is delivered again.
func (l *Lane) done(j *job, s settlement, err error) {
	if err != nil {
		level := slog.LevelWarn
		if j.ctx.Err() != nil { // the worker stops; Run logs how many steps
			level = slog.LevelDebug
			l.unfinished.Add(1)
		}
		l.log.Log(j.ctx, level, "step not finished; its message will be delivered again", "subject", j.Subject, "sequence", j.seq, "error", err)
	}
	l.settle(j.ctx, j.delivery, s)
	j.end(err)
}

// settle sends a settlement to the server. If an acknowledgement is lost, the message is
// delivered again, and its records show that it is answered.
func (l *Lane) settle(ctx context.Context, d *delivery, s settlement) {
	defer l.inflight.remove(d)
	l.callBegins(d)
	if d.byteLimit != nil {
		d.byteLimit.release(d.bytes)
	}
	if s != ack && l.clock.passed(d.ackDeadline(l.ackWait.get())) {
		s = abandon // a nak could take it from the worker that has it now
	}
	end := unrecorded
	if s != abandon {
		end = l.trace.settle(ctx, string(s), d.Subject)
	}
	var err error
	switch s {
	case ack:
		err = d.Ack()
	case nakWithDelay:
		err = d.NakWithDelay(nakDelay)
	case nak:
		err = d.Nak()
	}
	end(err)
	failpoint.At(failpoint.Settled)
	if err != nil && ledger.FailureText(l.js, err) != ledger.NotConnected {
		l.log.WarnContext(ctx, "cannot settle a message; it will be delivered again", "settlement", string(s), "sequence", d.seq, "error", err)
	}
}

// callBegins no longer counts a message as prefetched: a call for it begins, or it is
// settled without one. So a slow API does not keep the lane from making as many calls as
// the concurrency allows.
func (l *Lane) callBegins(d *delivery) {
	if d.prefetched.CompareAndSwap(true, false) {
		l.prefetch.Release(1)
	}
}
