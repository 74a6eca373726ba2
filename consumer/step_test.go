package consumer

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// recordAttempt stores an attempt, as a worker does before its call, and returns its
// sequence.
func recordAttempt(ctx context.Context, l requestLedger, id, fingerprint string, p ledger.Progress, lease time.Duration) (uint64, error) {
	r := l.NewAttempt(ctx, id, fingerprint, p, lease)
	err := l.Append(ctx, r)
	return r.Progress.Seq, err
}

// watchedLedger lets a test see each store and read, and fail it.
type watchedLedger struct {
	requestLedger
	before func() error         // its error acts as a failure that lasts until the worker stops
	after  func(subject string) // of each record
}

func (w *watchedLedger) begin() error {
	if w.before == nil {
		return nil
	}
	return w.before()
}

func (w *watchedLedger) Append(ctx context.Context, p *ledger.Pending) error {
	err := w.begin()
	if err == nil {
		err = w.requestLedger.Append(ctx, p)
	}
	if w.after != nil {
		w.after(p.Subject())
	}
	return err
}

func (w *watchedLedger) CheckHead(ctx context.Context, id string, p ledger.Progress) error {
	if err := w.begin(); err != nil {
		return err
	}
	return w.requestLedger.CheckHead(ctx, id, p)
}

func (w *watchedLedger) Last(ctx context.Context, id string) (*ledger.Record, error) {
	if err := w.begin(); err != nil {
		return nil, err
	}
	return w.requestLedger.Last(ctx, id)
}

func (w *watchedLedger) Schedule(ctx context.Context, id string, msg *nats.Msg, p ledger.Progress, at time.Time) error {
	if err := w.begin(); err != nil {
		return err
	}
	return w.requestLedger.Schedule(ctx, id, msg, p, at)
}

func (w *watchedLedger) IsScheduled(ctx context.Context, id string, due uint64, now time.Time) (bool, error) {
	if err := w.begin(); err != nil {
		return false, err
	}
	return w.requestLedger.IsScheduled(ctx, id, due, now)
}

// publishResult stores a result after the record that progress names.
func (l *Lane) publishResult(ctx context.Context, id, fingerprint string, progress ledger.Progress, result events.Result) error {
	r, err := l.newResult(ctx, id, fingerprint, progress, result)
	if err != nil {
		return err
	}
	return l.publish(ctx, r, nil)
}

// mayCall gives a lane without a running [Lane.Run] the right to call, until the test ends.
func (env *environment) mayCall(l *Lane) {
	env.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.control.Run(ctx, ctx, func() string { return "" })
	}()
	env.Cleanup(func() { cancel(); <-done })
	if err := l.control.Wait(env.Context()); err != nil {
		env.Fatal(err)
	}
}

// step makes one step of the request in a delivery, and settles it.
func (env *environment) step(l *Lane, d *delivery) {
	env.Helper()
	ctx, cancel := context.WithTimeout(env.Context(), patience)
	defer cancel()
	l.batcher.start = func(b *batch) { l.work(ctx, ctx, b) }
	env.mayCall(l)
	if !l.inflight.add(d) {
		env.Fatal("the delivery is in flight already")
	}
	j := &job{delivery: d, Request: d.request, ctx: ctx, end: unrecorded}
	if d.invalid != nil {
		settled, err := l.answerInvalid(ctx, d)
		l.done(j, settled, err)
		return
	}
	j.fingerprint = events.Fingerprint(d.request.Resource)
	if settled, err := l.prepare(j); settled != "" || err != nil {
		l.done(j, settled, err)
		return
	}
	l.add(j)
	l.steps.Wait()
}
