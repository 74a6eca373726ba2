package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// answerReuse answers a request whose id already names another resource. The
// first one is untouched, so the answer stands under a name made of the stream
// sequence. It tells of the calls that were made before the id was taken.
func (l *Lane) answerReuse(j *job) (settlement, error) {
	r := j.result(Step{Outcome: events.Invalid, Error: &events.ResultError{
		Code:    events.CodeIDReused,
		Message: fmt.Sprintf("id: %s already names a request for another resource; use a new id", j.ID),
	}})
	r.Evidence = j.evidence
	return l.publishUnder(j.ctx, []string{events.SequenceID(j.progress.RequestSeq)}, j.fingerprint, r)
}

// refuse answers an event that breaks the contract. It stands under the event's
// own id where that can be read and is free, and else under its sequence.
func (l *Lane) refuse(ctx context.Context, d *delivery) (settlement, error) {
	var invalid *events.InvalidError
	if !errors.As(d.invalid, &invalid) {
		return nakWithDelay, d.invalid
	}
	arrival := d.seq
	if d.due {
		arrival = ledger.ReadProgress(d.Header).RequestSeq
	}
	names := []string{events.SequenceID(arrival)}
	if id := d.request.ID; id != "" {
		names = []string{id, names[0]}
	}
	return l.publishUnder(ctx, names, d.raw, events.Result{
		RequestSource: d.request.Source,
		Outcome:       events.Invalid,
		Error:         &events.ResultError{Code: invalid.Code, Message: invalid.Error()},
	})
}

// publishUnder publishes an answer under the first of names whose chain is free
// or holds this very answer. A sequence can stand for two messages in a results
// stream that outlived its requests stream, so a last name adds the fingerprint.
func (l *Lane) publishUnder(ctx context.Context, names []string, fingerprint string, r events.Result) (settlement, error) {
	last := names[len(names)-1]
	for _, name := range append(names, last+"-"+shortened(fingerprint)) {
		r.RequestID = name
		record, err := l.newResult(ctx, name, fingerprint, ledger.Progress{}, r)
		if err != nil {
			return nakWithDelay, err
		}
		err = l.publish(ctx, record)
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
	return nakWithDelay, fmt.Errorf("no free name among %v for a message that is invalid", names)
}

// shortened is the end of a fingerprint, enough to tell two messages apart.
func shortened(fingerprint string) string {
	return fingerprint[max(0, len(fingerprint)-8):]
}
