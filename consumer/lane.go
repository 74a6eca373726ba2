package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/lethe-dev/lethe/events"
)

// Run works until stop ends. Then it fetches nothing new, returns messages for which
// no call has begun, lets calls in flight finish, and returns within the grace
// period. Missing or unsafe streams or consumers block it until they are fixed.
func (l *Lane) Run(stop context.Context) error {
	healthy := l.check(stop) // also reads the server's clock

	// Calls may run for most of the grace period after stop; their answers are
	// stored in the rest.
	ctx, cancel := context.WithCancel(context.WithoutCancel(stop))
	defer cancel()
	defer after(stop, l.config.Grace, cancel)()
	calls, cancelCalls := context.WithCancel(ctx)
	defer cancelCalls()
	defer after(stop, l.callGrace(), cancelCalls)()
	l.calls = calls

	var alive errgroup.Group
	alive.Go(func() error { l.extendAckDeadlines(ctx); return nil })
	alive.Go(func() error { l.monitor(ctx, healthy); return nil })
	alive.Go(func() error { l.watchState(ctx); return nil })
	alive.Go(func() error { l.bringForwardWhenChanged(ctx); return nil })
	alive.Go(func() error {
		l.control.Run(stop, ctx, func() string { return string(l.State().Status) })
		return nil
	})
	finish := l.startWorkers(stop, ctx)
	var pulls sync.WaitGroup
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		pulls.Go(func() { l.pull(stop, ctx, stream) })
	}
	pulls.Wait()
	finish()
	cancel()
	if n := l.unfinished.Load(); n > 0 {
		l.log.Warn("the grace period ended before all steps were finished; their messages will be delivered again", "steps", n)
	}
	return alive.Wait()
}

// startWorkers starts the goroutines that work on batches, two for each call that may run
// at the same time. They are kept, because a new goroutine would have to grow its stack
// again. finish waits until all batches are done; no message may be received after it is
// called.
func (l *Lane) startWorkers(stop, ctx context.Context) (finish func()) {
	batches := make(chan *batch, 4*l.maxPull)
	l.batcher.start = func(b *batch) {
		l.steps.Add(1)
		select {
		case batches <- b:
		default: // workers themselves start batches, and must not wait for a worker
			go func() {
				defer l.steps.Done()
				l.work(stop, ctx, b)
			}()
		}
	}
	var workers sync.WaitGroup
	for range 2 * l.config.Concurrency {
		workers.Go(func() {
			for b := range batches {
				l.work(stop, ctx, b)
				l.steps.Done()
			}
		})
	}
	return func() {
		l.steps.Wait()
		close(batches)
		workers.Wait()
	}
}

// maxBytes is how many bytes of messages the lane may have in flight.
func (l *Lane) maxBytes() int64 {
	if l.config.MaxBytesInFlight > 0 {
		return l.config.MaxBytesInFlight
	}
	return defaultMaxBytes
}

// pull takes messages from the lane's consumer of one stream, until stop ends.
func (l *Lane) pull(stop, ctx context.Context, stream string) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	limit := newByteLimit(l.maxBytes()/2, l.js.Conn().MaxPayload())
	for stop.Err() == nil {
		probe, err := l.breaker.Wait(stop)
		if err != nil {
			return
		}
		if l.control.Open().Err() != nil { // paused, or without a stored heartbeat
			_ = l.control.Wait(stop) // the loop checks stop
			continue
		}
		if len(l.ledger.Failing()) > 0 || !l.laterUsage.mayFetch(stream) {
			wait(stop, pullWait)
			continue
		}
		maxMessages := l.maxPull
		if probe {
			maxMessages = 1
		}
		found, err := l.pullOnce(stop, ctx, stream, maxMessages, limit)
		if stop.Err() != nil {
			return
		}
		l.pulls.report(stream, err)
		if err != nil {
			wait(stop, pause.NextBackOff())
			continue
		}
		if probe {
			l.reportProbePull(stop, stream, found > 0)
		}
		pause.Reset()
	}
}

// pullOnce receives up to maxMessages messages, fewer if they could exceed the byte
// limit, and returns their number.
func (l *Lane) pullOnce(stop, ctx context.Context, stream string, maxMessages int, limit *byteLimit) (found int, err error) {
	open := l.control.Open()
	maxMessages, each, ok := limit.reserve(open, maxMessages)
	if !ok {
		return 0, nil
	}
	defer limit.release(int64(maxMessages) * each)
	if l.prefetch.Acquire(open, int64(maxMessages)) != nil {
		return 0, nil
	}
	asked := time.Now()
	err = pull(ctx, l.js, stream, string(l.config.Target), maxMessages, func(msg *nats.Msg) {
		found++
		limit.learn(int64(msg.Size()))
		l.receive(stop, ctx, msg, asked, limit)
	})
	l.prefetch.Release(int64(maxMessages - found))
	return found, err
}
