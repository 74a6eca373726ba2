package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/lethe-dev/lethe/events"
)

// A request is refused alone if the API refused it in a way that may be about that
// request only. While the breaker is open, other requests probe first, because their
// answers say more about the API.

// postpone schedules a request that was refused alone for later if it may not probe now.
// The message of its next step stays the same, and the wait does not count as elapsed time.
func (l *Lane) postpone(j *job) (settlement, error) {
	if !j.progress.RefusedAlone() {
		return "", nil
	}
	at, open := l.breaker.NextRefusedAloneProbe()
	if !open {
		return "", nil
	}
	wait := time.Until(at)
	if wait <= 0 {
		others, err := l.othersPending(j.ctx)
		if err != nil {
			return nakWithDelay, err
		}
		if !others {
			return "", nil
		}
	}
	wait = max(wait, l.config.Rules.Retry.Delay(j.progress.Waits, 0))
	return l.schedule(j, j.progress, l.clock.now().Add(wait))
}

// othersPending reports whether other requests wait, beside the due one in flight.
func (l *Lane) othersPending(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	requests, err := l.js.Consumer(ctx, events.StreamRequests, string(l.config.Target))
	if err != nil {
		return false, fmt.Errorf("consumer %s of %s: %w", l.config.Target, events.StreamRequests, err)
	}
	due, err := l.js.Consumer(ctx, events.StreamLater, string(l.config.Target))
	if err != nil {
		return false, fmt.Errorf("consumer %s of %s: %w", l.config.Target, events.StreamLater, err)
	}
	r, d := requests.CachedInfo(), due.CachedInfo()
	return r.NumPending > 0 || r.NumAckPending > 0 || d.NumPending > 0, nil
}

// reportProbePull reports to the breaker whether a pull for a probe found a message in a
// stream.
func (l *Lane) reportProbePull(ctx context.Context, stream string, found bool) {
	if !found && stream == events.StreamLater {
		waits, err := l.ledger.RetryScheduled(ctx)
		found = waits || err != nil
	}
	l.breaker.Found(stream, found)
}

// bringForwardWhenChanged makes the request that the API refused last due at once, each
// time the credential changes: it may be the only one that can probe, and would otherwise
// come due only after its own wait.
func (l *Lane) bringForwardWhenChanged(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.changed:
		}
		id := l.refused.Load()
		if id == nil {
			continue
		}
		if err := l.ledger.BringForward(ctx, *id, l.clock.now()); err != nil {
			l.log.Debug("cannot make the refused request due at once; it comes due as scheduled", "request_id", *id, "error", err)
		}
	}
}
