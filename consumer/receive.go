package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/failpoint"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// receive reads a message and puts its request into a batch. It is called in the order of
// the stream, so that of two requests with one id the earlier one is handled first.
func (l *Lane) receive(stop, ctx context.Context, msg *nats.Msg, asked time.Time, limit *byteLimit) {
	d := l.read(msg, asked)
	if d == nil {
		return
	}
	d.byteLimit, d.bytes = limit, bytesOf(d.Msg)+deliveryOverhead
	limit.add(d.bytes)
	ctx, end := l.trace.process(ctx, d)
	if !l.inflight.add(d) {
		l.settle(ctx, d, nakWithDelay)
		end(nil)
		return
	}
	failpoint.At(failpoint.Received)
	if stop.Err() != nil {
		l.settle(ctx, d, nak)
		end(nil)
		return
	}
	j := &job{delivery: d, Request: d.request, ctx: ctx, end: end}
	if d.due {
		if _, err := ledger.StrictProgress(d.Header); err != nil {
			// There is no request to answer: those come on another subject.
			l.log.WarnContext(ctx, "dropped a message that no worker wrote", "stream", events.StreamLater, "subject", d.Subject, "sequence", d.seq, "reason", err)
			l.done(j, ack, nil)
			return
		}
	}
	if d.invalid != nil {
		l.steps.Go(func() {
			settled, err := l.answerInvalid(ctx, d)
			l.done(j, settled, err)
		})
		return
	}
	l.trace.request(ctx, d.request)
	j.fingerprint = events.Fingerprint(d.request.Resource)
	if l.setInitialProgress(j) {
		l.add(j)
		return
	}
	l.steps.Go(func() {
		if settled, err := l.prepare(j); settled != "" || err != nil {
			l.done(j, settled, err)
			return
		}
		l.add(j)
	})
}

// read returns the delivery in a message, nil if no consumer sent it.
func (l *Lane) read(msg *nats.Msg, asked time.Time) *delivery {
	meta, err := msg.Metadata()
	if err != nil {
		l.prefetch.Release(1)
		l.log.Error("cannot read a message's metadata", "subject", msg.Subject, "error", err)
		return nil
	}
	d := &delivery{
		Msg: msg, seq: meta.Sequence.Stream, due: meta.Stream == events.StreamLater,
		storedAt: meta.Timestamp, receivedAt: time.Now(), numDelivered: meta.NumDelivered,
	}
	d.prefetched.Store(true)
	d.extendedAt.Store(&asked) // the server sent it later
	d.request, d.invalid = events.ReadRequest(l.config.Target, msg.Header, msg.Data)
	if d.invalid != nil {
		// Of an invalid event only its fingerprint is kept: events may be large, and many.
		d.rawFingerprint = events.RawFingerprint(msg.Header, msg.Data)
		msg.Data = nil
	} else {
		compact(msg, &d.request)
	}
	return d
}

// setInitialProgress sets the progress that j starts from, if that needs no request to
// the server, and reports whether it did.
func (l *Lane) setInitialProgress(j *job) bool {
	switch {
	case l.config.Rate > 0: // an answered request must not wait for a turn, so its head is checked first
		return false
	case j.due:
		j.progress = dueProgress(ledger.ReadProgress(j.Header))
		return !j.progress.RefusedAlone() && (j.numDelivered == 1 || l.config.RecordAttempts)
	default:
		j.progress = ledger.Progress{RequestSeq: j.seq, StoredAt: j.storedAt}
		return j.numDelivered == 1 && ledger.Expected(j.Header) == 0 && !l.needsRetention(j.delivery)
	}
}

// dueProgress is the progress of a due message. A schedule follows a record. Without one
// (Seq is 0) it is unknown whether an earlier call deleted; if the record exists after
// all, its progress replaces this one.
func dueProgress(carried ledger.Progress) ledger.Progress {
	carried.MayHaveDeleted = carried.MayHaveDeleted || carried.Seq == 0
	return carried
}

// prepare sets the progress that j starts from. It returns a settlement if no call is to
// be made now.
func (l *Lane) prepare(j *job) (settled settlement, err error) {
	if j.numDelivered > 1 && !l.config.RecordAttempts && l.redeliveryWait(j.ctx, j.receivedAt) > 0 {
		return nakWithDelay, nil
	}
	if j.progress, err = l.initialProgress(j); err != nil {
		return nakWithDelay, err
	}
	if l.config.Rate > 0 { // an answered request need not wait for its turn to call
		if settled, err = l.catchUp(j); settled != "" || err != nil {
			return settled, err
		}
	}
	return l.postpone(j)
}

// initialProgress returns the progress that j starts from. Only workers publish on the
// due subject, so only due messages carry a progress. A new request starts without one,
// and the replay of a failed request with that of its result.
func (l *Lane) initialProgress(j *job) (ledger.Progress, error) {
	if j.due {
		return dueProgress(ledger.ReadProgress(j.Header)), nil
	}
	replayOf := ledger.Expected(j.Header)
	initial := ledger.Progress{RequestSeq: j.seq, StoredAt: j.storedAt}
	lost, err := l.mayHaveLostRecords(j.ctx, j.delivery, replayOf)
	if err != nil {
		return initial, err
	}
	initial.MayHaveDeleted = lost
	if replayOf == 0 {
		return initial, nil
	}
	last, err := l.ledger.Last(j.ctx, j.ID)
	if err != nil {
		return initial, err
	}
	if last != nil && last.Seq == replayOf && last.Outcome == events.Failed && last.Fingerprint == j.fingerprint {
		replay := last.Progress
		replay.Alone = replay.Single()
		replay.FirstAttempt, replay.RequestSeq, replay.StoredAt = time.Time{}, j.seq, j.storedAt
		replay.Waits, replay.Elapsed, replay.Undocumented, replay.RefusedWait = 0, 0, 0, 0
		return replay, nil
	}
	return initial, nil
}

// catchUp makes j's progress that of the last record, if that is ahead. It returns a
// settlement if no call is left to make.
func (l *Lane) catchUp(j *job) (settled settlement, err error) {
	err = l.ledger.CheckHead(j.ctx, j.ID, j.progress)
	var conflict *ledger.ConflictError
	switch {
	case errors.As(err, &conflict):
		j.progress, settled, err = l.resolve(j, j.progress, conflict.Last)
		return settled, err
	case err != nil:
		return nakWithDelay, err
	}
	return "", nil
}
