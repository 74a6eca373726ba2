package consumer

import (
	"context"
	"errors"
	"time"
)

const (
	// watchEvery is how often a lane looks at what it stands on, which is not the consumers of others.
	watchEvery = 30 * time.Second
	// watchAgain is how often it does while something is wrong.
	watchAgain = 2 * time.Second
)

// watch looks at the streams' settings and the server's clock until ctx ends.
// A setting that breaks a promise holds the lane until it is put right. well is
// what the look before has found.
func (l *Lane) watch(ctx context.Context, well bool) {
	for {
		every := watchEvery
		if !well {
			every = watchAgain
		}
		wait(ctx, every)
		if ctx.Err() != nil {
			return
		}
		well = l.look(ctx)
	}
}

// look holds the lane or lets it go on, and says whether all is as it must be.
func (l *Lane) look(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := l.clock.measure(ctx, l.js); err != nil {
		l.log.Debug("cannot ask the server for its time", "error", err)
	}
	if err := l.chain.looks.measure(ctx); err != nil {
		l.log.Debug("cannot ask for the replicas of the results", "error", err)
	}
	var problem *Problem
	switch err := Check(ctx, l.js, l.ResultsMinAge, l.Target); {
	case errors.As(err, &problem):
		l.Block(problem.Error())
		return false
	case err == nil:
		l.Block("")
		l.redeliver(ctx)
		return true
	default:
		// Not being able to look says nothing about the settings.
		l.log.Debug("cannot look at the streams", "error", err)
		return false
	}
}

// redeliver sees to it that the lane's consumers pass nothing over.
func (l *Lane) redeliver(ctx context.Context) {
	if !l.ManageStreams {
		return
	}
	passed, err := PassedOver(ctx, l.js, l.Target)
	for _, p := range passed {
		l.log.Warn("the server brought back messages that it would not deliver, they are delivered again", "stream", p.Stream, "found", p.Setting)
	}
	if err == nil {
		err = Redeliver(ctx, l.js, passed)
	}
	if err != nil {
		l.log.Debug("cannot have messages delivered again", "error", err)
	}
}
