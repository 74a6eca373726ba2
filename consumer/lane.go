package consumer

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/limiter"
)

// Lane serves one target: it takes its requests and what comes due, and sees
// each through one step. Lanes share nothing but the connection.
type Lane struct {
	config    Config
	js        jetstream.JetStream
	log       *slog.Logger
	clock     *clock
	most      int                 // messages in one pull
	prefetch  *semaphore.Weighted // messages for which no call has begun
	batcher   *batcher
	inflight  *inflight
	steps     sync.WaitGroup // batches, and what runs beside them
	breaker   *limiter.Breaker
	limiter   *limiter.Limiter
	ledger    requestLedger
	records   retention
	trace     *tracing
	ackWait   *ackWaits
	laterRoom laterRoom
	pulls     *pulls

	unfinished atomic.Int64 // steps that the end of the grace period cut off

	refused atomic.Pointer[string] // the id that the API refused last
	changed chan struct{}          // holds a word of a credential that has changed
}

// takeWait is how long one pull waits for messages. It is short because a pull
// is never cut off: what the server had sent meanwhile would be nobody's until
// ackWait is over.
const takeWait = time.Second

// Run works until stop ends; then it takes nothing new, hands back what it has
// not begun, lets calls that are out finish, and returns within the grace
// period. While its streams or consumers are missing or unsafe it is held.
func (l *Lane) Run(stop context.Context) error {
	well := l.look(stop) // above all at the clock

	// Calls go on for most of the grace period after stop, and what they gave is
	// stored in the rest.
	ctx, cancel := context.WithCancel(context.WithoutCancel(stop))
	defer cancel()
	defer after(stop, l.config.Grace, cancel)()

	var alive errgroup.Group
	alive.Go(func() error { l.keepAlive(ctx); return nil })
	alive.Go(func() error { l.watch(ctx, well); return nil })
	alive.Go(func() error { l.hastenWhenChanged(ctx); return nil })
	finish := l.startWorkers(stop, ctx)
	var pulls sync.WaitGroup
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		pulls.Go(func() { l.pull(stop, ctx, stream) })
	}
	pulls.Wait()
	finish()
	cancel()
	if n := l.unfinished.Load(); n > 0 {
		l.log.Warn("the grace period cut off steps, their messages will come again", "steps", n)
	}
	return alive.Wait()
}

// startWorkers has batches worked on, as many at the same time as may have the
// permission to call. A goroutine takes one batch after the other, because a stack
// that has grown is worth keeping. finish returns when all is done; nothing may be
// received after it is called.
func (l *Lane) startWorkers(stop, ctx context.Context) (finish func()) {
	// There is room for every batch that can be, so that starting one never blocks.
	batches := make(chan *batch, 8*l.most+l.config.Concurrency*l.batcher.maxIDs)
	l.batcher.start = func(b *batch) {
		l.steps.Add(1)
		batches <- b
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

// hold is how many bytes of messages the lane may have in hand.
func (l *Lane) hold() int64 {
	if l.config.Hold > 0 {
		return l.config.Hold
	}
	return defaultHold
}

// callGrace is how long calls may go on after stop: the lane's grace period but
// for the time that storing their answers may take.
func (l *Lane) callGrace() time.Duration { return l.config.Grace - min(l.config.Grace/8, storeGrace) }

// storeGrace is what storing has of a long grace period, after the calls.
const storeGrace = 3 * time.Second

// pull takes messages from the lane's consumer of one stream, until stop ends.
func (l *Lane) pull(stop, ctx context.Context, stream string) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	held := newHolding(l.hold()/2, l.js.Conn().MaxPayload())
	for stop.Err() == nil {
		probe, err := l.breaker.Wait(stop)
		if err != nil {
			return
		}
		if l.ledger.Failing() != "" || !l.laterRoom.mayTake(stream) {
			wait(stop, takeWait)
			continue
		}
		most := l.most
		if probe {
			most = 1
		}
		found, err := l.pullOnce(stop, ctx, stream, most, held)
		if stop.Err() != nil {
			return
		}
		l.pulls.note(stream, err)
		if err != nil {
			wait(stop, pause.NextBackOff())
			continue
		}
		if probe {
			l.probed(stop, stream, found > 0)
		}
		pause.Reset()
	}
}

// pullOnce receives at most so many messages, fewer where their bytes would be too
// many, and returns how many there were.
func (l *Lane) pullOnce(stop, ctx context.Context, stream string, most int, held *holding) (found int, err error) {
	most, each, ok := held.ask(stop, most)
	if !ok {
		return 0, nil
	}
	defer held.drop(int64(most) * each)
	if l.prefetch.Acquire(stop, int64(most)) != nil {
		return 0, nil
	}
	asked := time.Now()
	err = pull(ctx, l.js, stream, string(l.config.Target), most, func(msg *nats.Msg) {
		found++
		held.learn(int64(msg.Size()))
		l.receive(stop, ctx, msg, asked, held)
	})
	l.prefetch.Release(int64(most - found))
	return found, err
}

// callBegins ends counting a message as prefetched: a call for it begins, or it is
// settled without one. An API that is slow does not keep the lane from calling it as
// often as the concurrency allows.
func (l *Lane) callBegins(d *delivery) {
	if d.prefetched.CompareAndSwap(true, false) {
		l.prefetch.Release(1)
	}
}

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
