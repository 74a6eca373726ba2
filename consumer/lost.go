package consumer

import (
	"context"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// needsRetention reports whether the server must be asked if a request may have had
// records, although its message is delivered for the first time.
func (l *Lane) needsRetention(d *delivery) bool {
	if !l.config.RecordAttempts {
		return false // the answer does not depend on earlier calls
	}
	k := l.retention.get()
	return !k.recent() || k.expired(d, l.clock.now())
}

// mayHaveLostRecords reports whether the request of a delivery may have had records that
// are gone. replays is the sequence of the failed result that the message asks to try
// again, 0 for none.
//
// Records are gone when they expire, or when their stream is deleted. A message that is
// delivered for the first time has none, unless its consumer is newer than the message:
// then an earlier consumer may have delivered it.
func (l *Lane) mayHaveLostRecords(ctx context.Context, d *delivery, replays uint64) (bool, error) {
	if !l.config.RecordAttempts {
		return false, nil // the answer does not depend on earlier calls
	}
	k, now := l.retention.get(), l.clock.now()
	if k.recent() && d.numDelivered <= 1 && replays == 0 && !k.expired(d, now) {
		return false, nil
	}
	k, err := l.retentionAfter(ctx, d.receivedAt) // it may have changed
	if err != nil {
		return false, err
	}
	delivered := d.numDelivered > 1
	switch {
	case replays > 0 && replays < k.first:
		return true, nil // a failed result was there, after calls
	case delivered && d.storedAt.Before(k.created):
		return true, nil
	default:
		return k.expired(d, now) && (delivered || d.storedAt.Before(k.consumer)), nil
	}
}

// lostRecord reports whether the record that a step follows is gone although the request
// has an open one: it expired, or the stream was recreated and another delivery stored
// records in it.
func (l *Lane) lostRecord(ctx context.Context, carried ledger.Progress, last *ledger.Record) (bool, error) {
	if !l.config.RecordAttempts || carried.Seq == 0 || last == nil || last.Outcome.Final() {
		return false, nil
	}
	k, err := l.retentionAfter(ctx, time.Now())
	return err == nil && carried.Seq < k.first, err
}

// retentionAfter returns what was read from the server after t. Concurrent callers share
// one request to the server.
func (l *Lane) retentionAfter(ctx context.Context, t time.Time) (retentionInfo, error) {
	r := &l.retention
	r.reading.Lock()
	defer r.reading.Unlock()
	if k := r.get(); k.asked.After(t) {
		return k, nil
	}
	err := l.ledger.Retry(ctx, events.StreamResults, func(ctx context.Context) error {
		return r.read(ctx, l.js, l.config.Target)
	})
	return r.get(), err
}
