package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/sabotage"
)

// Lane serves one target: it takes its requests and what comes due, and sees
// each through one step. Lanes share nothing but the connection.
type Lane struct {
	Config
	js        jetstream.JetStream
	log       *slog.Logger
	clock     *clock
	most      int // messages in one pull; there is room for twice as many
	gatherer  *gatherer
	hand      *hand
	breaker   *breaker
	pace      *pace
	chain     *chain
	later     *later
	records   retention
	trace     *tracing
	troubles  *troubles
	ackWait   *ackWaits
	laterRoom laterRoom
	pulls     *pulls

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
	defer after(stop, l.Grace, cancel)()

	var alive errgroup.Group
	alive.Go(func() error { l.keepAlive(ctx); return nil })
	alive.Go(func() error { l.watch(ctx, well); return nil })
	alive.Go(func() error { l.hastenWhenChanged(ctx); return nil })
	crew := newCrew(func(d *delivery) {
		defer d.room.leave(1)
		defer d.holding.drop(d.weight)
		l.handle(stop, ctx, d)
	})
	var take errgroup.Group
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		take.Go(func() error { l.take(stop, ctx, stream, crew); return nil })
	}
	err := take.Wait()
	crew.finish()
	cancel()
	return errors.Join(err, alive.Wait())
}

// hold is how many bytes of messages the lane may have in hand.
func (l *Lane) hold() int64 {
	if l.Hold > 0 {
		return l.Hold
	}
	return defaultHold
}

// callGrace is how long calls may go on after stop: the lane's grace period but
// for the time that storing their answers may take.
func (l *Lane) callGrace() time.Duration { return l.Grace - min(l.Grace/8, storeGrace) }

// storeGrace is what storing has of a long grace period, after the calls.
const storeGrace = 3 * time.Second

// take pulls messages from the lane's consumer of one stream and has the crew
// process each, until stop ends. Everything taken is kept alive from then on.
func (l *Lane) take(stop, ctx context.Context, stream string, crew *crew) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	room := newRoom(2 * l.most)
	holding := newHolding(l.hold()/2, l.js.Conn().MaxPayload())
	for stop.Err() == nil {
		probe, err := l.breaker.wait(stop)
		if err != nil {
			return
		}
		if l.troubles.any() != "" || !l.laterRoom.mayTake(stream) {
			wait(stop, takeWait)
			continue
		}
		most := l.most
		if probe {
			most = 1
		}
		most, each, ok := holding.ask(stop, most)
		if !ok {
			return
		}
		asked := most
		if !room.reserve(stop, most) {
			return
		}
		begun := time.Now()
		err = pull(ctx, l.js, stream, string(l.Target), most, func(msg *nats.Msg) {
			most--
			holding.learn(int64(msg.Size()))
			if d := l.begin(ctx, room, msg, begun); d != nil {
				d.holding, d.weight = holding, bytesOf(d.Msg)+perDelivery
				holding.keep(d.weight)
				crew.give(d)
			}
		})
		room.leave(most)
		holding.drop(int64(asked) * each)
		l.pulls.note(stream, err)
		if err == nil {
			if probe {
				l.probed(stop, stream, most == 0)
			}
			pause.Reset()
			continue
		}
		wait(stop, pause.NextBackOff())
	}
}

// begin reads a message and takes it in hand, unless another of its id is. It
// is called in the order of their stream, so that of two requests under one id
// the first is the first.
func (l *Lane) begin(ctx context.Context, room *room, msg *nats.Msg, asked time.Time) *delivery {
	meta, err := msg.Metadata()
	if err != nil {
		room.leave(1)
		l.log.Error("cannot read a message's metadata", "subject", msg.Subject, "error", err)
		return nil
	}
	d := &delivery{Msg: msg, seq: meta.Sequence.Stream, due: meta.Stream == events.StreamLater, room: room,
		stored: meta.Timestamp, taken: time.Now(), times: meta.NumDelivered}
	d.kept.Store(&asked) // the server sent it later
	d.request, d.invalid = events.ReadRequest(l.Target, msg.Header, msg.Data)
	if d.invalid != nil {
		// Of what is no request only its name is kept, for it may be large, and many.
		d.raw = events.RawFingerprint(msg.Header, msg.Data)
		msg.Data = nil
	} else {
		slim(msg, &d.request)
	}
	if !l.hand.take(d) {
		room.leave(1)
		l.settle(ctx, d, giveBack)
		return nil
	}
	return d
}

// handle processes one delivery and settles it.
func (l *Lane) handle(stop, ctx context.Context, d *delivery) {
	ctx, end := l.trace.process(ctx, d)
	defer end()
	sabotage.At(sabotage.Taken)
	if sabotage.Without(sabotage.AckLast) {
		_ = d.Ack()
	}
	settled, err := handBack, error(nil)
	switch {
	case stop.Err() != nil:
	case d.times > 1 && !l.RecordAttempts && l.inDoubt(ctx, d.taken) > 0:
		settled = giveBack
	default:
		settled, err = l.process(stop, ctx, d)
	}
	if err != nil {
		l.log.WarnContext(ctx, "step not finished, the message will come again", "subject", d.Subject, "sequence", d.seq, "error", err)
	}
	if settled == giveBack && stop.Err() != nil {
		settled = handBack
	}
	l.settle(ctx, d, settled)
}

// giveBackPause keeps a message that is given back from coming straight again.
const giveBackPause = 500 * time.Millisecond

// settle tells the server what became of a delivery. An acknowledgement that is
// lost brings the message again, and its chain then says that it is answered.
func (l *Lane) settle(ctx context.Context, d *delivery, s settlement) {
	defer l.hand.drop(d)
	if s != ack && l.clock.over(d.oursUntil(l.ackWait.get())) {
		s = letGo // giving it back could take it from the worker that has it now
	}
	_, end := l.trace.settle(ctx, s)
	var err error
	switch s {
	case ack:
		err = d.Ack()
	case giveBack:
		err = d.NakWithDelay(giveBackPause)
	case handBack:
		err = d.Nak()
	}
	end(err)
	sabotage.At(sabotage.Settled)
	if err != nil && failureText(l.js, err) != notConnected {
		l.log.WarnContext(ctx, "cannot settle a message, it will come again", "settlement", string(s), "sequence", d.seq, "error", err)
	}
}

// storeTimeout bounds one try of storing or looking.
const storeTimeout = 5 * time.Second

// persist does what must be done before a message can be acknowledged, again
// and again until it succeeds, it is too large ever to be stored, or ctx ends.
// Meanwhile the lane says what is in its way.
func (l *Lane) persist(ctx context.Context, what string, do func(context.Context) error) error {
	try := func() error {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		err := do(ctx)
		if oversized(err) {
			return backoff.Permanent(err)
		}
		return err
	}
	err := try()
	var lasting *backoff.PermanentError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &lasting):
		return lasting.Err
	}
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	wait(ctx, policy.NextBackOff())
	key := new(byte)
	defer func() { l.troubles.end(key, ctx.Err() == nil) }()
	return backoff.RetryNotify(try, backoff.WithContext(policy, ctx), func(err error, next time.Duration) {
		if next > time.Second/4 { // a concurrent publish that is not settled is no trouble
			l.troubles.note(key, fmt.Sprintf("%s: %s", what, failureText(l.js, err)))
		}
	})
}

// oversized tells what no patience can store: that message has to wait alone.
func oversized(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == errCodeHeaderTooLarge || api.ErrorCode == errCodeMessageTooLarge
	}
	return errors.Is(err, nats.ErrMaxPayload)
}

// The server's codes for messages over its limits (errors.json of nats-server).
const (
	errCodeMessageTooLarge jetstream.ErrorCode = 10054
	errCodeHeaderTooLarge  jetstream.ErrorCode = 10097
)

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
