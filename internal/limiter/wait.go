package limiter

import (
	"context"
	"time"
)

// waitFor waits until wait, which is called with the lock held, returns 0. It calls wait
// again after the returned time and after each change, or only after a change if wait
// says so. The zero deadline is none.
func (l *Limiter) waitFor(ctx context.Context, deadline time.Time, wait func(now time.Time) (d time.Duration, change bool)) error {
	for ctx.Err() == nil {
		now := time.Now()
		if passed(deadline, now) {
			return context.DeadlineExceeded
		}
		l.mu.Lock()
		d, change := wait(now)
		if d <= 0 && !change {
			l.mu.Unlock()
			return nil
		}
		var changed chan struct{}
		if change || d > shortWait {
			if l.changed == nil {
				l.changed = make(chan struct{})
			}
			changed = l.changed
		}
		l.mu.Unlock()
		if change {
			d = time.Hour
		}
		if !deadline.IsZero() {
			d = min(d, deadline.Sub(now))
		}
		sleep(ctx, d, changed)
	}
	return ctx.Err()
}

// shortWait is the longest wait that a change does not end: waking for each answer costs more.
const shortWait = 10 * time.Millisecond

func passed(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

// notify wakes the callers that wait for a change, with the lock held.
func (l *Limiter) notify() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// sleep waits for a time, for a change, or until ctx ends.
func sleep(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}

// lock waits for a mutex that serves in the order of arrival, until ctx ends.
func lock(ctx context.Context, mutex chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case mutex <- struct{}{}:
		return nil
	}
}

// lockBy is lock with a deadline, unless that is zero.
func lockBy(ctx context.Context, mutex chan struct{}, deadline time.Time) error {
	select {
	case mutex <- struct{}{}:
		return nil
	default:
	}
	if deadline.IsZero() {
		return lock(ctx, mutex)
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return context.DeadlineExceeded
	case mutex <- struct{}{}:
		return nil
	}
}

func unlock(mutex chan struct{}) { <-mutex }
