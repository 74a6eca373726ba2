package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// retention is what a worker knows of how long records are there.
type retention struct {
	mu       sync.Mutex
	asked    time.Time     // when the worker asked for it
	maxAge   time.Duration // of the results stream, 0 for forever
	created  time.Time     // the results stream
	first    uint64        // sequence of the results stream's first message
	consumer time.Time     // when the requests' consumer was created
}

// recent says that what is known is not older than a check of the settings.
func (r *retention) recent() bool { return time.Since(r.asked) < watchEvery }

// expired says that records as old as a delivery's message may be gone.
func (r *retention) expired(d *delivery, now time.Time) bool {
	return r.maxAge > 0 && now.Add(ledger.ClockTolerance).Sub(d.stored) >= r.maxAge
}

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
	if r.recent() && d.times <= 1 && replays == 0 && !r.expired(d, now) {
		return false, nil
	}
	if !r.asked.After(d.taken) { // what was known before it was delivered may have changed
		if err := l.ledger.Retry(ctx, "stream "+events.StreamResults, func(ctx context.Context) error { return l.askRetention(ctx) }); err != nil {
			return false, err
		}
	}
	delivered := d.times > 1
	switch {
	case replays > 0 && replays < r.first:
		return true, nil // a failed result was there, after calls
	case delivered && d.stored.Before(r.created):
		return true, nil
	default:
		return r.expired(d, now) && (delivered || d.stored.Before(r.consumer)), nil
	}
}

// lostRecord says that the record which a step knows is gone although the request has
// an open one: it expired, or the stream was created again and another delivery
// began its records in it.
func (l *Lane) lostRecord(ctx context.Context, known ledger.Progress, last *ledger.Record) (bool, error) {
	if !l.config.RecordAttempts || known.Seq == 0 || last == nil || last.Outcome.Final() {
		return false, nil
	}
	r := &l.records
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := l.ledger.Retry(ctx, "stream "+events.StreamResults, func(ctx context.Context) error { return l.askRetention(ctx) }); err != nil {
		return false, err
	}
	return known.Seq < r.first, nil
}

// askRetention asks the server, with the lock held.
func (l *Lane) askRetention(ctx context.Context) error {
	asked := time.Now()
	results, err := l.js.Stream(ctx, events.StreamResults)
	if err != nil {
		return err
	}
	consumer, err := l.js.Consumer(ctx, events.StreamRequests, string(l.config.Target))
	if err != nil {
		return err
	}
	info := results.CachedInfo()
	r := &l.records
	r.asked, r.maxAge, r.created, r.first, r.consumer = asked, info.Config.MaxAge, info.Created, info.State.FirstSeq, consumer.CachedInfo().Created
	return nil
}
