package consumer

import (
	"sync"
	"time"

	"github.com/lethe-dev/lethe/internal/streams"
)

// extendAfter is how long a message may be in flight before its ack deadline is
// extended. It fits the shortest ack_wait that is accepted, because a shortened one
// counts at the server at once, and here only when it was read.
const (
	extendAfter = streams.MinAckWait / 3
	extendEvery = extendAfter / 4
)

// ackWaits is the ack_wait of a lane's consumers, the shorter one, as it was last
// read from the server. An operator may change it at any time.
type ackWaits struct {
	reading sync.Mutex // locked while the server is asked

	mu      sync.Mutex
	wait    time.Duration
	readAt  time.Time // when it was last asked for, zero if never
	shorter time.Time // when it was last found shorter than before
}

// get returns the ack_wait, [streams.AckWait] until it was read.
func (a *ackWaits) get() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wait == 0 {
		return streams.AckWait
	}
	return a.wait
}

// learn records the ack_wait that the server gave when asked at a time; 0 is none.
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
