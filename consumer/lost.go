package consumer

import (
	"context"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// mayBeOld says that only the server can tell whether the request of a delivery,
// which is delivered for the first time, may have had records.
func (l *Lane) mayBeOld(d *delivery) bool {
	if !l.config.RecordAttempts {
		return false // the answer does not depend on earlier calls
	}
	r := &l.records
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.recent() || r.expired(d, l.clock.now())
}

// mayHaveLostRecords says that the request of a delivery may have had records that
// are gone. replays is the sequence of the failed result that the message asks to
// try again, 0 for none.
//
// Records go when they are older than the stream keeps them, or with the stream. A
// message that is delivered for the first time has none, unless its consumer is
// newer than the message: then an earlier consumer may have delivered it.
func (l *Lane) mayHaveLostRecords(ctx context.Context, d *delivery, replays uint64) (bool, error) {
	if !l.config.RecordAttempts {
		return false, nil // the answer does not depend on earlier calls
	}
	r := &l.records
	r.mu.Lock()
	defer r.mu.Unlock()
	now := l.clock.now()
	if r.recent() && d.numDelivered <= 1 && replays == 0 && !r.expired(d, now) {
		return false, nil
	}
	if !r.asked.After(d.receivedAt) { // what was known before it was delivered may have changed
		if err := l.readRetention(ctx); err != nil {
			return false, err
		}
	}
	delivered := d.numDelivered > 1
	switch {
	case replays > 0 && replays < r.first:
		return true, nil // a failed result was there, after calls
	case delivered && d.storedAt.Before(r.created):
		return true, nil
	default:
		return r.expired(d, now) && (delivered || d.storedAt.Before(r.consumer)), nil
	}
}

// lostRecord says that the record which a step knows is gone although the request has
// an open one: it expired, or the stream was created again and another delivery
// began its records in it.
func (l *Lane) lostRecord(ctx context.Context, carried ledger.Progress, last *ledger.Record) (bool, error) {
	if !l.config.RecordAttempts || carried.Seq == 0 || last == nil || last.Outcome.Final() {
		return false, nil
	}
	r := &l.records
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := l.readRetention(ctx); err != nil {
		return false, err
	}
	return carried.Seq < r.first, nil
}

// readRetention reads the retention from the server, with its lock held.
func (l *Lane) readRetention(ctx context.Context) error {
	return l.ledger.Retry(ctx, "stream "+events.StreamResults, func(ctx context.Context) error {
		return l.records.read(ctx, l.js, l.config.Target)
	})
}
