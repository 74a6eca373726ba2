package consumer

import (
	"context"
	"time"
)

const (
	// storeTimeout bounds one try of storing or reading.
	storeTimeout = 5 * time.Second
	// checkEvery is how often a lane checks its streams and its consumers.
	checkEvery = 15 * time.Second
)

// after calls do at the given time after ctx has ended, unless off is called before.
func after(ctx context.Context, d time.Duration, do func()) (off func()) {
	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-cancelled:
		case <-timer.C:
			do()
		}
	})
	return func() { stop(); close(cancelled) }
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
