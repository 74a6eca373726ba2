package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/internal/streams"
)

// keepAfter is how long a message may be in hand without a sign of life to the
// server. It fits the shortest ack_wait that is accepted, because a shortened one
// counts at the server at once, and here only when it was read.
const (
	keepAfter = streams.MinAckWait / 3
	keepEvery = keepAfter / 4
)

// ackWaits is the ack_wait of a lane's consumers, the shorter one, as it was last
// read from the server. An operator may change it at any time.
type ackWaits struct {
	reading sync.Mutex // held while one asks the server

	mu      sync.Mutex
	wait    time.Duration
	readAt  time.Time // when it was last asked for, zero if never
	shorter time.Time // when it was last found shorter than before
}

// get returns the ack_wait, [ackWait] until it was read.
func (a *ackWaits) get() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wait == 0 {
		return streams.AckWait
	}
	return a.wait
}

// learn takes in what the server said when asked at some time; 0 is nothing.
func (a *ackWaits) learn(wait time.Duration, asked time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if wait == 0 || asked.Before(a.readAt) {
		return
	}
	if wait < a.wait {
		a.shorter = time.Now()
	}
	a.wait, a.readAt = wait, asked
}

// state returns when the ack_wait was read, and when it became shorter.
func (a *ackWaits) state() (readAt, shorter time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.readAt, a.shorter
}

// inDoubt returns how long a message that comes again must wait, because another
// worker may be at work on it. The server delivers such a message when a worker
// is gone, but also at once when ack_wait was shortened. Then a worker that has
// not noticed yet may be in the middle of its call, and no lease tells: so such
// messages wait until that call is over.
func (l *Lane) inDoubt(ctx context.Context, received time.Time) time.Duration {
	l.ackWait.reading.Lock()
	defer l.ackWait.reading.Unlock()
	if readAt, _ := l.ackWait.state(); readAt.Before(received) {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		asked := time.Now()
		found, err := streams.Inspect(ctx, l.js, l.config.Target)
		if err != nil {
			l.log.Debug("cannot read ack_wait", "error", err)
			return nakDelay
		}
		l.ackWait.learn(found.AckWait(), asked)
	}
	_, shorter := l.ackWait.state()
	if shorter.IsZero() {
		return 0
	}
	return time.Until(shorter.Add(l.config.Timeout + leaseSlack))
}

// keepAlive tells the server regularly that what is in hand is being worked on.
func (l *Lane) keepAlive(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, d := range l.inflight.all() {
				if time.Since(*d.kept.Load()) < keepAfter {
					continue
				}
				if err := d.keep(l.clock, l.ackWait.get()); err != nil {
					l.log.Debug("cannot keep a message in hand", "sequence", d.seq, "error", err)
				}
			}
		}
	}
}
