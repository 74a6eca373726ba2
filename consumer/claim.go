package consumer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/internal/ledger"
)

// claimTimeout is how long a call waits for jobs that are claimed one by one. Each claim
// may have to store or read something first.
const claimTimeout = time.Second

// claimAll makes sure, before a call, that no other worker is ahead with any of the jobs.
// It returns the jobs to call for. The others are settled, or join a later batch, so that
// one slow claim does not delay the rest.
func (l *Lane) claimAll(ctx context.Context, jobs []*job) []*job {
	if len(jobs) == 1 {
		if !l.claim(jobs[0]) {
			return nil
		}
		return jobs
	}
	begun := time.Now()
	claimed := make([]*job, 0, len(jobs))
	var open, rest []*job
	for _, j := range jobs {
		if l.isClaimed(j) {
			claimed = append(claimed, j)
		} else {
			j.unclaim()
			open = append(open, j)
		}
	}
	for i, ok := range l.tryClaims(ctx, open, begun) {
		if ok && l.isClaimed(open[i]) {
			claimed = append(claimed, open[i])
		} else {
			rest = append(rest, open[i])
		}
	}
	return append(claimed, l.claimEach(rest)...)
}

// claimEach claims jobs one by one, at the same time. A job that is claimed too late for
// this call joins a later batch once it is claimed. If it joined at once, its claim would
// expire behind a backlog, each time.
func (l *Lane) claimEach(jobs []*job) (claimed []*job) {
	if len(jobs) == 0 {
		return nil
	}
	var mu sync.Mutex
	open, late := len(jobs), false
	all := make(chan struct{})
	for _, j := range jobs {
		l.steps.Go(func() {
			ok := l.claim(j)
			mu.Lock()
			defer mu.Unlock()
			if late {
				if ok {
					l.add(j)
				}
				return
			}
			if ok {
				claimed = append(claimed, j)
			}
			if open--; open == 0 {
				close(all)
			}
		})
	}
	timer := time.NewTimer(claimTimeout)
	defer timer.Stop()
	select {
	case <-all:
	case <-timer.C:
	}
	mu.Lock()
	defer mu.Unlock()
	late = true
	return claimed
}

// add puts j into a batch.
func (l *Lane) add(j *job) {
	l.batcher.add(j, j.progress.Single() || l.breaker.SingleRequests())
}

// tryClaims claims jobs together, and returns for each whether that succeeded.
func (l *Lane) tryClaims(ctx context.Context, jobs []*job, begun time.Time) []bool {
	ok := make([]bool, len(jobs))
	if len(jobs) == 0 {
		return ok
	}
	now := l.clock.now()
	if l.config.RecordAttempts { // for an API that takes lists and can answer not-found
		records := make([]*ledger.Pending, len(jobs))
		for i, j := range jobs {
			records[i] = l.ledger.NewAttempt(j.ctx, j.ID, j.fingerprint, j.progress.WithAttempt(now), l.lease())
		}
		end := l.trace.appendAll(func(i int) context.Context { return jobs[i].ctx }, "attempt", records)
		l.ledger.AppendAll(ctx, records)
		end()
		for i, r := range records {
			if ok[i] = r.Stored; ok[i] {
				jobs[i].claimed(r.Progress, begun, l.ackWait.get())
				jobs[i].mustRecord = true
			} else {
				jobs[i].pendingClaim, jobs[i].pendingSince = r, begun
			}
		}
		return ok
	}
	var ids []string
	for _, j := range jobs {
		if j.progress.Seq == 0 {
			ids = append(ids, j.ID)
		}
	}
	if !l.ledger.NoneExist(ctx, ids) {
		return ok
	}
	for i, j := range jobs {
		if ok[i] = j.progress.Seq == 0; ok[i] {
			j.claimed(j.progress.WithAttempt(now), begun, l.ackWait.get())
		}
	}
	return ok
}

// claimed records that the job has the right to make an attempt. begun is when the claim
// began, from which that right is counted.
func (j *job) claimed(progress ledger.Progress, begun time.Time, ackWait time.Duration) {
	j.progress = progress
	j.startDeadline = earlier(begun.Add(leaseSlack), j.ackDeadline(ackWait))
}

// isClaimed reports whether a call for j may begin now.
func (l *Lane) isClaimed(j *job) bool {
	return !j.startDeadline.IsZero() && !l.clock.passed(j.startDeadline)
}

// unclaim removes an attempt for which no call was made.
func (j *job) unclaim() {
	if !j.startDeadline.IsZero() {
		j.progress, j.startDeadline = j.progress.WithoutLastAttempt(), time.Time{}
	}
}

// lease is the lease of a recorded attempt.
func (l *Lane) lease() time.Duration { return l.config.Timeout + leaseSlack }

// claim claims one job. If it returns false, the job is settled.
func (l *Lane) claim(j *job) bool {
	for range maxRounds {
		if l.isClaimed(j) {
			return true
		}
		j.unclaim()
		begun := time.Now()
		if j.pendingClaim != nil {
			begun = j.pendingSince // its lease may have begun then
		}
		if l.clock.passed(j.ackDeadline(l.ackWait.get())) {
			l.done(j, abandon, l.releaseClaim(j))
			return false
		}
		next, err := l.tryClaim(j, j.progress.WithAttempt(l.clock.now()))

		var conflict *ledger.ConflictError
		switch {
		case errors.As(err, &conflict):
			j.mustRecord = false // another record follows the claim
			var settled settlement
			if j.progress, settled, err = l.resolve(j, j.progress, conflict.Last); settled != "" || err != nil {
				l.done(j, settled, err)
				return false
			}
			continue
		case err != nil:
			l.done(j, nakWithDelay, err)
			return false
		}
		// A process that was stopped here must not call with a lease that may end before
		// the call does, nor for a message that it no longer has. So the claim counts
		// from its beginning.
		j.claimed(next, begun, l.ackWait.get())
	}
	l.done(j, nakWithDelay, l.releaseClaim(j))
	return false
}

// tryClaim stores the attempt where the API's answer depends on it. Elsewhere it only
// checks that no other worker is ahead.
func (l *Lane) tryClaim(j *job, next ledger.Progress) (ledger.Progress, error) {
	if !l.config.RecordAttempts {
		return next, l.ledger.CheckHead(j.ctx, j.ID, next)
	}
	r := j.pendingClaim
	if j.pendingClaim = nil; r == nil {
		r = l.ledger.NewAttempt(j.ctx, j.ID, j.fingerprint, next, l.lease())
	}
	err := l.append(j, r)
	j.mustRecord = j.mustRecord || err == nil
	return r.Progress, err
}

// releaseClaim stores that no call was made on a claim, or how many calls were made that
// no record counts. Otherwise the next worker would treat the claim as an unanswered
// attempt, and wait for the end of its lease.
func (l *Lane) releaseClaim(j *job) error {
	j.unclaim()
	if !j.mustRecord {
		return nil
	}
	j.mustRecord = false
	_, err := l.recordEndedAttempt(j, j.progress)
	if _, ok := errors.AsType[*ledger.ConflictError](err); ok {
		return nil // another worker continues with it
	}
	return err
}

// resolve decides what to do if the records are ahead of the carried progress. It returns
// the progress to continue from, or a settlement.
func (l *Lane) resolve(j *job, carried ledger.Progress, last *ledger.Record) (ledger.Progress, settlement, error) {
	scheduled := false
	if last != nil && !last.Outcome.Final() && last.Fingerprint == j.fingerprint {
		due := uint64(0)
		if j.due {
			due = j.seq
		}
		var err error
		if scheduled, err = l.ledger.IsScheduled(j.ctx, j.ID, due, l.clock.now()); err != nil {
			return carried, nakWithDelay, err
		}
	}
	lost, err := l.lostRecord(j.ctx, carried, last)
	if err != nil {
		return carried, nakWithDelay, err
	}
	action, at, next := ledger.Resolve(carried, j.fingerprint, last, scheduled, l.config.Instance, l.clock.now())
	next.MayHaveDeleted = next.MayHaveDeleted || lost
	next.StoredAt = carried.StoredAt
	switch action {
	case ledger.Acknowledge:
		return next, ack, nil
	case ledger.RejectReuse:
		settled, err := l.answerReuse(j)
		return next, settled, err
	case ledger.Reschedule:
		settled, err := l.schedule(j, next, at)
		return next, settled, err
	default:
		return next, "", nil
	}
}

// returnMessage has a message delivered again, because no call can be made for it now.
func (l *Lane) returnMessage(stop context.Context, j *job) {
	err := l.releaseClaim(j)
	settled := nakWithDelay
	if stop.Err() != nil {
		settled = nak
	}
	l.done(j, settled, err)
}

// maxRounds bounds how often one delivery is in a batch, or claimed, before its message
// is returned to the server.
const maxRounds = 8
