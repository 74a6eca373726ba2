package consumer

import (
	"context"
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

// monitor checks the streams' settings and the server's clock until ctx ends. An
// unsafe setting blocks the lane until it is fixed. healthy is the result of the
// check before.
func (l *Lane) monitor(ctx context.Context, healthy bool) {
	for {
		every := checkEvery
		if !healthy {
			every = recheckEvery
		}
		for left := every; left > 0; left -= checkLaterEvery {
			wait(ctx, min(left, checkLaterEvery))
			if ctx.Err() != nil {
				return
			}
			if l.laterUsage.limited.Load() {
				l.checkLater(ctx)
			}
		}
		l.checkDomains(ctx)
		healthy = l.check(ctx) && l.otherDomain.Load() == nil
	}
}

// checkDomains finds out whether another domain has joined since the start.
func (l *Lane) checkDomains(ctx context.Context) {
	if l.config.CheckDomains == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	problem, err := l.config.CheckDomains(ctx, l.js)
	if err != nil {
		l.log.Debug("cannot check for other JetStream domains", "error", err)
		return
	}
	l.otherDomain.Store(problem)
}

// check blocks or resumes the lane, and reports whether all settings are safe.
func (l *Lane) check(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := l.clock.measure(ctx, l.js, l.log); err != nil {
		l.log.Debug("cannot read the server's clock", "error", err)
	}
	if err := l.ledger.LearnReplicas(ctx); err != nil {
		l.log.Debug("cannot read the replicas of the results stream", "error", err)
	}
	begun := time.Now()
	found, err := streams.Inspect(ctx, l.js, l.config.Target)
	if err != nil {
		// A check that fails says nothing about the settings.
		l.log.Debug("cannot check the streams", "error", err)
		return false
	}
	l.ackWait.learn(found.AckWait(), begun)
	l.learnLater(found.Streams[events.StreamLater])
	problems := found.Problems(l.config.ResultsMinAge)
	l.setUnsafe(problems)
	if len(problems) > 0 {
		return false
	}
	l.redeliver(ctx)
	return true
}

// redeliver recreates the lane's consumers that have stranded messages.
func (l *Lane) redeliver(ctx context.Context) {
	if !l.config.ManageStreams {
		return
	}
	stranded, err := streams.Stranded(ctx, l.js, l.config.Target)
	for _, p := range stranded {
		l.log.Warn("messages below the consumer's ack floor reappeared after a server crash; they are delivered again", "stream", p.Stream, "message", p.Setting)
	}
	if err == nil {
		err = streams.Redeliver(ctx, l.js, stranded)
	}
	if err != nil {
		l.log.Debug("cannot recreate a consumer to redeliver messages", "error", err)
	}
}

// learnLater records how full DELETION_LATER is; info is nil if it is missing.
func (l *Lane) learnLater(info *jetstream.StreamInfo) {
	if info == nil {
		return
	}
	l.laterUsage.limited.Store(info.Config.MaxBytes > 0)
	l.laterUsage.percent.Store(streams.PercentFull(info.Config, info.State))
}

// checkLater asks how full DELETION_LATER is.
func (l *Lane) checkLater(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, events.StreamLater)
	if err != nil {
		l.log.Debug("cannot ask how full a stream is", "stream", events.StreamLater, "error", err)
		return
	}
	l.learnLater(stream.CachedInfo())
}

// redeliveryWait returns how long a redelivered message must wait, because another worker
// may have it in flight. The server redelivers a message when a worker is gone, but also
// at once when ack_wait was shortened. In the second case a worker that has not noticed
// may be in the middle of a call, and no lease shows it. So the message waits until such
// a call has ended.
func (l *Lane) redeliveryWait(ctx context.Context, received time.Time) time.Duration {
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

// extendAckDeadlines extends the ack deadlines of the deliveries in flight.
func (l *Lane) extendAckDeadlines(ctx context.Context) {
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, d := range l.inflight.all() {
				if time.Since(*d.extendedAt.Load()) < extendAfter {
					continue
				}
				if err := d.extend(l.clock, l.ackWait.get()); err != nil {
					l.log.Debug("cannot extend the ack deadline of a message", "sequence", d.seq, "error", err)
				}
			}
		}
	}
}
