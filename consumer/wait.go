package consumer

import (
	"context"
	"time"
)

// storeTimeout bounds one try of storing or looking.
const storeTimeout = 5 * time.Second

// after calls do at the given time after ctx has ended, unless it is called off.
func after(ctx context.Context, d time.Duration, do func()) (off func()) {
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-over:
		case <-timer.C:
			do()
		}
	})
	return func() { stop(); close(over) }
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
