package consumer

import (
	"context"
	"errors"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// answerInvalid answers an event that breaks the contract. The result has the event's
// own id where that can be read and is free, and otherwise its sequence.
func (l *Lane) answerInvalid(ctx context.Context, d *delivery) (settlement, error) {
	var invalid *events.InvalidError
	if !errors.As(d.invalid, &invalid) {
		return nakWithDelay, d.invalid
	}
	arrival, storedAt := d.seq, d.storedAt
	if d.due {
		progress := ledger.ReadProgress(d.Header)
		arrival, storedAt = progress.RequestSeq, progress.StoredAt
	}
	names := []string{events.SequenceID(arrival)}
	if id := d.request.ID; id != "" {
		names = []string{id, names[0]}
	}
	return l.publishUnder(ctx, names, d.rawFingerprint, storedAt, events.Result{
		RequestSource: d.request.Source,
		Outcome:       events.Invalid,
		Error:         &events.ResultError{Code: invalid.Code, Message: invalid.Error()},
	})
}
