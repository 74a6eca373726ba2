package consumer

import (
	"context"
	"time"

	"github.com/lethe-dev/lethe/events"
)

// attempt stores an attempt, as a worker does before its call, and returns its
// sequence.
func (c *chain) attempt(ctx context.Context, id, fingerprint string, h History, lease time.Duration) (uint64, error) {
	r := c.newAttempt(ctx, id, fingerprint, h, lease)
	err := c.append(ctx, r)
	return r.progress.Seq, err
}

// publishResult stores a result after the link that h names, and returns its
// sequence.
func (l *Lane) publishResult(ctx context.Context, id, fingerprint string, h History, result events.Result) (uint64, error) {
	r, err := l.newResult(ctx, id, fingerprint, h, result)
	if err == nil {
		err = l.publish(ctx, r)
	}
	if err != nil {
		return 0, err
	}
	return r.progress.Seq, nil
}

// step makes one step of the request in a delivery, and settles it.
func (w *world) step(l *Lane, d *delivery) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	l.batcher.start = func(b *batch) { l.work(ctx, ctx, b) }
	if !l.inflight.add(d) {
		w.Fatal("the delivery is in flight already")
	}
	j := &job{delivery: d, Request: d.request, ctx: ctx, end: func() {}}
	if d.invalid != nil {
		settled, err := l.refuse(ctx, d)
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
