package control

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/text"
)

const (
	// retryEvery is the time until the next heartbeat after one that was not stored.
	retryEvery = 500 * time.Millisecond
	// storeWithin limits one try to store a heartbeat, or to read the key.
	storeWithin = 2 * time.Second
	// lastBeatWithin limits the last heartbeat of a worker that stops.
	lastBeatWithin = 300 * time.Millisecond
)

// Config configures a [Lease].
type Config struct {
	Target   events.Target
	Instance string // the worker's
	Version  string // of its program; may be empty
	// CallTimeout is the timeout of a call.
	CallTimeout time.Duration
	Log         *slog.Logger
}

// Lease is a worker's right to call for one target. It has none until Run has stored a
// heartbeat. Its methods may be used by many goroutines.
type Lease struct {
	config Config
	bucket bucket

	until atomic.Pointer[time.Time] // when a call must have begun; nil: none may begin
	calls atomic.Int64
	open  atomic.Pointer[period]

	mu      sync.Mutex
	lane    Lane // as it was read last
	known   bool // lane is what the next heartbeat expects
	ended   bool // the pause of lane has ended by itself
	failure string
	since   time.Time // when the lease was started, or had no right any more
	timer   *time.Timer
	changed chan struct{} // closed and replaced when a period begins
}

// period is a time without interruption in which calls may be made.
type period struct {
	ctx context.Context
	end context.CancelFunc
}

// bucket is the bucket lethe-control as a Lease uses it.
type bucket interface {
	read(ctx context.Context) (Lane, error)
	beat(ctx context.Context, h heartbeat, expected uint64) error
	beatUnguarded(ctx context.Context, h heartbeat) error
	now(ctx context.Context) (time.Time, error)
}

// NewLease returns a lease without the right to call.
func NewLease(js jetstream.JetStream, c Config) *Lease { return newLease(storedBucket{js, c}, c) }

func newLease(b bucket, c Config) *Lease {
	l := &Lease{config: c, bucket: b, changed: make(chan struct{}), since: time.Now()}
	ctx, end := context.WithCancel(context.Background())
	end()
	l.open.Store(&period{ctx, end})
	return l
}

// Run publishes heartbeats until ctx ends. The contexts that [Lease.Open] returns also
// end with stop. state returns the lane's state in a word, for the list of workers.
func (l *Lease) Run(stop, ctx context.Context, state func() string) {
	l.mu.Lock()
	l.since = time.Now()
	l.timer = time.AfterFunc(time.Hour, l.expire)
	l.mu.Unlock()
	for ctx.Err() == nil {
		sent, next := time.Now(), retryEvery
		if l.beat(stop, ctx, state()) {
			next = beatEvery
		}
		sleep(ctx, next-time.Since(sent))
	}
	l.mu.Lock()
	l.revoke()
	l.timer.Stop()
	l.mu.Unlock()
	h, _ := l.heartbeat(state())
	h.Stopped = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastBeatWithin)
	defer cancel()
	if err := l.bucket.beatUnguarded(ctx, h); err != nil {
		l.config.Log.Debug("the last heartbeat was not stored", "error", err)
	}
}

// Begin counts a call, until End, and returns when it must have begun: by, or the end
// of the right to call if that is earlier. It is the zero time if no call may begin.
func (l *Lease) Begin(by time.Time) time.Time {
	l.calls.Add(1) // before the right is checked: see revoke
	until := l.until.Load()
	switch {
	case until == nil, deleter.Passed(*until): // Passed also sees that the machine was suspended
		return time.Time{}
	case until.Before(by):
		return *until
	}
	return by
}

// MayCall reports whether a call may begin now.
func (l *Lease) MayCall() bool {
	until := l.until.Load()
	return until != nil && !deleter.Passed(*until)
}

// End ends the count of a call.
func (l *Lease) End() { l.calls.Add(-1) }

// Open returns a context that ends with the right to call. It has ended if there is
// none.
func (l *Lease) Open() context.Context { return l.open.Load().ctx }

// Wait waits until calls may be made. It fails only when ctx ends.
func (l *Lease) Wait(ctx context.Context) error {
	for ctx.Err() == nil {
		l.mu.Lock()
		open, changed := l.Open().Err() == nil, l.changed
		l.mu.Unlock()
		if open {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return ctx.Err()
}

// State is why a worker makes no calls.
type State struct {
	// Word is "" if nothing keeps it from calling, [Paused] or [Blocked].
	Word   string
	Reason string
	Since  time.Time
	Fix    string // what to do
}

// Blocked is the Word of a [State] in which the bucket cannot be read or written.
const Blocked = "blocked"

// State reports why no calls are made.
func (l *Lease) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.known && l.lane.State == Paused && !l.ended:
		reason := "paused by " + l.lane.By + ": " + l.lane.Reason
		if !l.lane.Until.IsZero() {
			reason += "; until " + l.lane.Until.Local().Format(time.DateTime)
		}
		return State{Word: Paused, Reason: reason, Since: l.lane.Since, Fix: "run `" + l.lane.Fix() + "`"}
	case l.known && l.lane.State == Unreadable:
		return State{Word: Blocked, Reason: l.lane.Reason, Since: l.since, Fix: "run `" + l.lane.Fix() + "`; the lane then runs, also if it was paused"}
	case l.Open().Err() != nil && l.failure != "" && time.Since(l.since) >= Tolerance:
		return State{Word: Blocked, Reason: "heartbeats cannot be stored in the bucket lethe-control: " + l.failure, Since: l.since,
			Fix: "check the connection to NATS and the stream KV_lethe-control"}
	}
	return State{}
}

// beat stores a heartbeat and reports whether that worked. It reads the lane's key
// if that has changed.
func (l *Lease) beat(stop, ctx context.Context, state string) bool {
	for ctx.Err() == nil {
		if err := l.refresh(ctx); err != nil {
			l.fail(err)
			return false
		}
		h, expected := l.heartbeat(state)
		try, cancel := context.WithTimeout(ctx, storeWithin)
		sent := time.Now()
		err := l.bucket.beat(try, h, expected)
		cancel()
		switch {
		case err == nil:
			l.accepted(stop, sent)
			return true
		case hasCode(err, codeOtherKey):
			l.mu.Lock()
			l.revoke()
			l.known = false
			l.mu.Unlock()
		case hasCode(err, codeInFlight): // another worker's heartbeat, most of the time
			sleep(ctx, inFlightWait/2+rand.N(inFlightWait))
		default:
			l.fail(err)
			return false
		}
	}
	return false
}

// refresh reads the key if it is not known, and the server's time if a pause may have
// ended.
func (l *Lease) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	l.mu.Lock()
	lane, known, ended := l.lane, l.known, l.ended
	l.mu.Unlock()
	if !known || lane.State == Unreadable {
		read, err := l.bucket.read(ctx)
		if err != nil {
			return err
		}
		lane = read
		l.learn(read, !known)
		ended = false
	}
	if ended || lane.Until.IsZero() || time.Now().Add(2*Tolerance).Before(lane.Until) {
		return nil
	}
	now, err := l.bucket.now(ctx)
	if err != nil || !lane.Ended(now) {
		return err
	}
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.config.Log.Info("the lane's pause has ended", "until", lane.Until)
	return nil
}

// learn stores the lane's key as it was read. first is true if no key was known before.
func (l *Lease) learn(lane Lane, first bool) {
	l.mu.Lock()
	before := l.lane
	l.lane, l.known, l.ended = lane, true, false
	l.mu.Unlock()
	if !first && before == lane {
		return
	}
	switch {
	case lane.State == Paused:
		l.config.Log.Debug("read a pause", "reason", lane.Reason, "by", lane.By, "until", lane.Until)
	case lane.State == Unreadable:
		l.config.Log.Debug("cannot read the lane's key", "reason", lane.Reason)
	case before.State == Paused:
		l.config.Log.Info("lane resumed by a person", "by", lane.By)
	}
}

// accepted extends the right to call after a heartbeat, if the key gives one.
func (l *Lease) accepted(stop context.Context, sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = ""
	if l.lane.State != Running && !(l.lane.State == Paused && l.ended) {
		return
	}
	until := sent.Add(BeginWithin)
	l.until.Store(&until)
	l.timer.Reset(time.Until(until))
	if l.Open().Err() == nil || stop.Err() != nil {
		return
	}
	ctx, end := context.WithCancel(stop)
	l.open.Store(&period{ctx, end})
	close(l.changed)
	l.changed = make(chan struct{})
}

// revoke ends the right to call. The caller must hold the lock. A call that has begun is
// counted by then, and a call that is counted later finds no right.
func (l *Lease) revoke() {
	l.until.Store(nil)
	if open := l.open.Load(); open.ctx.Err() == nil {
		open.end()
		l.since = time.Now()
	}
}

// expire ends the right to call if no heartbeat was accepted in time.
func (l *Lease) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := l.until.Load(); until != nil && !deleter.Passed(*until) {
		l.timer.Reset(time.Until(*until))
		return
	}
	if l.Open().Err() == nil {
		l.revoke()
		l.config.Log.Debug("no heartbeat was accepted, no call may begin", "within", BeginWithin.String(), "reason", l.failure)
	}
}

// fail stores why a heartbeat could not be stored.
func (l *Lease) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = text.Error(err)
}

// heartbeat returns the worker's next heartbeat, and the sequence of the key that it
// expects. It counts the calls after the right to call has ended, if it has.
func (l *Lease) heartbeat(state string) (h heartbeat, expected uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return heartbeat{
		State: state, Key: l.lane.Sequence, MayCall: l.lane.State == Running || l.ended,
		Calls: l.calls.Load(), CallTimeout: l.config.CallTimeout.Seconds(), Version: l.config.Version,
	}, l.lane.Sequence
}
