package consumer

import (
	"errors"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/failpoint"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// store makes the step durable: its result, then its next message.
func (l *Lane) store(j *job, step nextStep) (settlement, error) {
	if step.outcome == "" {
		return l.storeRetry(j, step)
	}
	next := step.progress
	if step.nextCallAt.IsZero() { // a final step has no progress; a replay reads that of this attempt
		next = j.progress
	}
	next.Seq = j.progress.Seq
	r, err := l.newResult(j.ctx, j.ID, j.fingerprint, next, j.result(step))
	if err != nil {
		return nakWithDelay, err
	}
	return l.storeResult(j, step, r)
}

func (l *Lane) storeResult(j *job, step nextStep, r *ledger.Pending) (settlement, error) {
	if err := l.publish(j.ctx, r, step.resultError); err != nil {
		return l.storeConflict(j, step, err)
	}
	failpoint.At(failpoint.Resulted)
	if step.nextCallAt.IsZero() {
		return ack, nil
	}
	next := step.progress
	next.Seq = r.Progress.Seq
	return l.schedule(j, next, step.nextCallAt)
}

// storeRetry records that the attempt is over, then schedules the next one. The record
// has no lease: another delivery of the request must not treat the attempt as unanswered,
// and another request with the same id must not replace the schedule.
func (l *Lane) storeRetry(j *job, step nextStep) (settlement, error) {
	next, err := l.recordEndedAttempt(j, step.progress)
	if err != nil {
		j.progress = step.progress
		return l.storeConflict(j, step, err)
	}
	return l.schedule(j, next, step.nextCallAt)
}

// storeConflict settles a delivery whose step was refused because another record was
// stored first. A final result answers the request; any other record belongs to a worker
// that continues with it.
func (l *Lane) storeConflict(j *job, step nextStep, err error) (settlement, error) {
	var conflict *ledger.ConflictError
	switch {
	case !errors.As(err, &conflict):
		return nakWithDelay, err
	case conflict.Last == nil:
		// The records are gone. The API's answer must not be lost with them: the next
		// call would get another one. Another worker may have recorded an attempt since
		// this one's, so a later 404 proves nothing.
		for _, p := range []*ledger.Progress{&j.progress, &step.progress} {
			p.Seq, p.MayHaveDeleted = 0, true
		}
		return l.store(j, step)
	case conflict.Last.Fingerprint != j.fingerprint && step.outcome.Final():
		// Another event used the id during the call. The call is made, and its
		// result must be published.
		return l.publishUnder(j.ctx, []string{events.SequenceID(j.progress.RequestSeq)}, j.fingerprint, j.progress.StoredAt, j.result(step))
	case conflict.Last.Fingerprint != j.fingerprint:
		return l.answerReuse(j)
	case conflict.Last.Outcome.Final():
		return ack, nil
	default:
		return abandon, nil
	}
}

func (l *Lane) schedule(j *job, p ledger.Progress, at time.Time) (_ settlement, err error) {
	ctx, end := l.trace.publish(j.ctx, "schedule", events.LaterSubject(l.config.Target, j.ID))
	defer func() { end(err) }()
	if err = l.ledger.Schedule(ctx, j.ID, j.Msg, p, at); err != nil {
		return nakWithDelay, err
	}
	l.log.DebugContext(ctx, "scheduled", "request_id", j.ID, "at", at, "attempts", p.Attempts)
	failpoint.At(failpoint.Scheduled)
	return ack, nil
}
