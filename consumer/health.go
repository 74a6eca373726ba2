package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

const (
	// recheckEvery is how often a lane checks its streams while something is wrong.
	recheckEvery = 2 * time.Second
	// checkLaterEvery is how often it asks how full DELETION_LATER is, if that has a limit.
	checkLaterEvery = time.Second
)

// watch looks at the streams' settings and the server's clock until ctx ends.
// An unsafe setting holds the lane until it is fixed. well is what the look
// before has found.
func (l *Lane) watch(ctx context.Context, well bool) {
	for {
		every := checkEvery
		if !well {
			every = recheckEvery
		}
		for left := every; left > 0; left -= checkLaterEvery {
			wait(ctx, min(left, checkLaterEvery))
			if ctx.Err() != nil {
				return
			}
			if l.laterRoom.limited.Load() {
				l.watchLater(ctx)
			}
		}
		well = l.look(ctx)
	}
}

// look holds the lane or lets it go on, and says whether all is as it must be.
func (l *Lane) look(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := l.clock.measure(ctx, l.js, l.log); err != nil {
		l.log.Debug("cannot ask the server for its time", "error", err)
	}
	if err := l.ledger.LearnReplicas(ctx); err != nil {
		l.log.Debug("cannot ask for the replicas of the results", "error", err)
	}
	begun := time.Now()
	found, err := streams.Inspect(ctx, l.js, l.config.Target)
	if err != nil {
		// Not being able to look says nothing about the settings.
		l.log.Debug("cannot look at the streams", "error", err)
		return false
	}
	l.ackWait.learn(found.AckWait(), begun)
	l.learnLater(found.Streams[events.StreamLater])
	var problem *streams.Problem
	if errors.As(found.Check(l.config.ResultsMinAge), &problem) {
		l.Block(problem.Error())
		return false
	}
	l.Block("")
	l.redeliver(ctx)
	return true
}

// redeliver sees to it that the lane's consumers pass nothing over.
func (l *Lane) redeliver(ctx context.Context) {
	if !l.config.ManageStreams {
		return
	}
	passed, err := streams.Stranded(ctx, l.js, l.config.Target)
	for _, p := range passed {
		l.log.Warn("messages below the consumer's ack floor reappeared after a server crash; they are delivered again", "stream", p.Stream, "found", p.Setting)
	}
	if err == nil {
		err = streams.Redeliver(ctx, l.js, passed)
	}
	if err != nil {
		l.log.Debug("cannot have messages delivered again", "error", err)
	}
}

// learnLater takes in how full DELETION_LATER is; info is nil if it is missing.
func (l *Lane) learnLater(info *jetstream.StreamInfo) {
	if info == nil {
		return
	}
	l.laterRoom.limited.Store(info.Config.MaxBytes > 0)
	before := l.laterRoom.why()
	l.laterRoom.percent.Store(streams.PercentFull(info.Config, info.State))
	switch why := l.laterRoom.why(); {
	case why != "" && before == "":
		l.log.Error("the lane takes no new requests", "why", why)
	case why == "" && before != "":
		l.log.Info("the lane takes requests again", "was", before)
	}
}

// watchLater asks how full DELETION_LATER is.
func (l *Lane) watchLater(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, events.StreamLater)
	if err != nil {
		l.log.Debug("cannot ask how full a stream is", "stream", events.StreamLater, "error", err)
		return
	}
	l.learnLater(stream.CachedInfo())
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
