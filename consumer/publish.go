package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// recordEndedAttempt stores the record of an attempt that is over, and returns the progress that
// follows it.
func (l *Lane) recordEndedAttempt(j *job, p ledger.Progress) (ledger.Progress, error) {
	r := l.ledger.NewAttempt(j.ctx, j.ID, j.fingerprint, p, 0)
	err := l.append(j, r)
	return r.Progress, err
}

// append stores the record of an attempt.
func (l *Lane) append(j *job, attempt *ledger.Pending) (err error) {
	ctx, end := l.trace.append(j.ctx, "attempt", attempt)
	defer func() { end(err) }()
	return l.ledger.Append(ctx, attempt)
}

// newResult returns the record of a result, to be stored after p.
func (l *Lane) newResult(ctx context.Context, id, fingerprint string, p ledger.Progress, r events.Result) (*ledger.Pending, error) {
	r.EventID, r.Source, r.Time, r.Target = ledger.NewID(), "/lethe/"+l.config.Instance, l.clock.now(), l.config.Target
	return l.ledger.NewResult(ctx, id, fingerprint, p, r)
}

// publish stores a result. e is the error that it reports, if any.
func (l *Lane) publish(ctx context.Context, r *ledger.Pending, e *events.ResultError) (err error) {
	sending, end := l.trace.append(ctx, "result", r)
	defer func() { end(err) }()
	if err = l.ledger.Append(sending, r); err != nil {
		return err
	}
	l.published(ctx, r, e)
	return nil
}

// published counts, traces and logs a stored result.
func (l *Lane) published(ctx context.Context, r *ledger.Pending, e *events.ResultError) {
	l.metrics.result(ctx, r.Outcome, e, r.Progress.StoredAt, l.clock.now())
	l.trace.outcome(ctx, r.Outcome, e)
	l.outcomes.stored(ctx, r)
}

// result returns the event for the outcome of a step.
func (j *job) result(step nextStep) events.Result {
	evidence := step.evidence
	if step.resultError != nil && j.Resource != nil && len(step.resultError.IDs) == len(j.Resource.BatchIDs()) {
		step.resultError.IDs = nil // ids are named only where some of the request's were refused
	}
	return events.Result{
		RequestID:     j.ID,
		RequestSource: j.Source,
		Resource:      j.Resource,
		Outcome:       step.outcome,
		Attempts:      j.progress.Attempts,
		Evidence:      &evidence,
		ExpectedBy:    step.expectedBy,
		Error:         step.resultError,
	}
}

// answerReuse answers a request whose id already names another resource. The first
// request's records stay untouched, so the result is published under an id made from the
// stream sequence. It includes the calls that were made before the id was in use.
func (l *Lane) answerReuse(j *job) (settlement, error) {
	r := j.result(nextStep{outcome: events.Invalid, resultError: &events.ResultError{
		Code:    events.CodeIDReused,
		Message: fmt.Sprintf("id: %s already names a request for another resource; use a new id", j.ID),
	}})
	r.Evidence = j.evidence
	return l.publishUnder(j.ctx, []string{events.SequenceID(j.progress.RequestSeq)}, j.fingerprint, j.progress.StoredAt, r)
}

// publishUnder publishes a result under the first of names (ids) that has no records, or
// has this very result. A sequence can mean two messages in a results stream that
// outlived its requests stream, so a last name adds the fingerprint. The request was
// stored at storedAt.
func (l *Lane) publishUnder(ctx context.Context, names []string, fingerprint string, storedAt time.Time, r events.Result) (settlement, error) {
	last := names[len(names)-1]
	for _, name := range append(names, last+"-"+fingerprintSuffix(fingerprint)) {
		r.RequestID = name
		record, err := l.newResult(ctx, name, fingerprint, ledger.Progress{StoredAt: storedAt}, r)
		if err != nil {
			return nakWithDelay, err
		}
		err = l.publish(ctx, record, r.Error)
		var conflict *ledger.ConflictError
		switch {
		case err == nil:
			return ack, nil
		case !errors.As(err, &conflict):
			return nakWithDelay, err
		case conflict.Last != nil && conflict.Last.Fingerprint == fingerprint:
			return ack, nil
		}
	}
	return nakWithDelay, fmt.Errorf("no unused id among %v for the result of an invalid message", names)
}

// fingerprintSuffix is the end of a fingerprint, enough to tell two messages apart.
func fingerprintSuffix(fingerprint string) string {
	return fingerprint[max(0, len(fingerprint)-8):]
}
