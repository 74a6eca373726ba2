package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/lethe-dev/lethe/events"
)

// claimAll makes sure, before a call, that no other worker is ahead with any of
// the jobs. It returns those to call for. The others are settled, or come in a
// later batch: what holds one up does not hold up the rest.
func (l *Lane) claimAll(ctx context.Context, jobs []*job) []*job {
	if len(jobs) == 1 {
		if !l.claim(jobs[0]) {
			return nil
		}
		return jobs
	}
	begun := time.Now()
	claimed := make([]*job, 0, len(jobs))
	var open []*job
	for _, j := range jobs {
		if l.isClaimed(j) {
			claimed = append(claimed, j)
		} else {
			j.unclaim()
			open = append(open, j)
		}
	}
	for i, ok := range l.tryClaims(ctx, open, begun) {
		j := open[i]
		if ok && l.isClaimed(j) {
			claimed = append(claimed, j)
			continue
		}
		l.steps.Go(func() {
			if l.claim(j) {
				l.add(j)
			}
		})
	}
	return claimed
}

// tryClaims claims jobs together, in one go, and says for which that succeeded.
func (l *Lane) tryClaims(ctx context.Context, jobs []*job, begun time.Time) []bool {
	ok := make([]bool, len(jobs))
	if len(jobs) == 0 {
		return ok
	}
	now := l.clock.now()
	if l.config.RecordAttempts {
		records := make([]*record, len(jobs))
		for i, j := range jobs {
			records[i] = l.chain.newAttempt(j.ctx, j.ID, j.fingerprint, j.progress.attempt(now), l.lease())
		}
		l.chain.appendAll(ctx, records)
		for i, r := range records {
			if ok[i] = r.stored; ok[i] {
				jobs[i].claimed(r.progress, begun, l.ackWait.get())
				jobs[i].leased = true
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
	if !l.chain.looks.empty(ctx, ids) {
		return ok
	}
	for i, j := range jobs {
		if ok[i] = j.progress.Seq == 0; ok[i] {
			j.claimed(j.progress.attempt(now), begun, l.ackWait.get())
		}
	}
	return ok
}

// claimed notes the attempt that the job has the right to make. begun is when the
// claim began.
func (j *job) claimed(progress History, begun time.Time, ackWait time.Duration) {
	j.progress = progress
	j.startBy = earlier(begun.Add(leaseSlack), j.oursUntil(ackWait))
}

// isClaimed says whether a call for j may begin now.
func (l *Lane) isClaimed(j *job) bool { return !j.startBy.IsZero() && !l.clock.over(j.startBy) }

// unclaim takes back an attempt for which no call was made.
func (j *job) unclaim() {
	if !j.startBy.IsZero() {
		j.progress, j.startBy = j.progress.uncounted(), time.Time{}
	}
}

// lease is how long an attempt may take, from its record on.
func (l *Lane) lease() time.Duration { return l.config.Timeout + leaseSlack }

// claim is claimAll for one job. Where it says no, the job is settled.
func (l *Lane) claim(j *job) bool {
	for range maxRounds {
		if l.isClaimed(j) {
			return true
		}
		j.unclaim()
		begun := time.Now()
		if l.clock.over(j.oursUntil(l.ackWait.get())) {
			l.done(j, abandon, l.withdraw(j))
			return false
		}
		next, err := l.own(j, j.progress.attempt(l.clock.now()))

		var moved *overtakenError
		switch {
		case errors.As(err, &moved):
			j.leased = false // another record follows the claim
			var settled settlement
			if j.progress, settled, err = l.overtaken(j, j.progress, moved.Last); settled != "" || err != nil {
				l.done(j, settled, err)
				return false
			}
			continue
		case err != nil:
			l.done(j, nakWithDelay, err)
			return false
		}
		// A process that was stopped before this must not call on a lease that may
		// end before the call does, nor for a message that it no longer has: the
		// claim counts from when it began.
		j.claimed(next, begun, l.ackWait.get())
	}
	l.done(j, nakWithDelay, l.withdraw(j))
	return false
}

// own stores the attempt where the API's answer depends on it; where it does not,
// it looks.
func (l *Lane) own(j *job, next History) (History, error) {
	if !l.config.RecordAttempts {
		return next, l.chain.follows(j.ctx, j.ID, next)
	}
	next, err := l.record(j, next, l.lease())
	j.leased = j.leased || err == nil
	return next, err
}

// record stores an attempt and returns its progress, which names the record.
func (l *Lane) record(j *job, h History, lease time.Duration) (_ History, err error) {
	ctx, end := l.trace.publish(j.ctx, "attempt", events.AttemptSubject(l.config.Target, j.ID, h.Attempts))
	defer func() { end(err) }()
	r := l.chain.newAttempt(ctx, j.ID, j.fingerprint, h, lease)
	err = l.chain.append(ctx, r)
	return r.progress, err
}

// withdraw stores that nothing came of a claim, because no call was made. The next
// worker would take it for an unanswered attempt, and wait until its lease is over.
func (l *Lane) withdraw(j *job) error {
	j.unclaim()
	if !j.leased {
		return nil
	}
	j.leased = false
	_, err := l.record(j, j.progress, 0)
	var moved *overtakenError
	if errors.As(err, &moved) {
		return nil // another worker continues with it
	}
	return err
}

// overtaken follows the records that are ahead of known. It returns the progress to
// continue from, or what becomes of the delivery.
func (l *Lane) overtaken(j *job, known History, last *link) (History, settlement, error) {
	scheduled := false
	if last != nil && !last.Outcome.Final() && last.Fingerprint == j.fingerprint {
		due := uint64(0)
		if j.due {
			due = j.seq
		}
		var err error
		if scheduled, err = l.later.stands(j.ctx, j.ID, due, l.clock.now()); err != nil {
			return known, nakWithDelay, err
		}
	}
	lost, err := l.lostRecord(j.ctx, known, last)
	if err != nil {
		return known, nakWithDelay, err
	}
	course, at, next := overtaken(known, j.fingerprint, last, scheduled, l.config.Instance, l.clock.now())
	next.Unanswered = next.Unanswered || lost
	switch course {
	case courseDone:
		return next, ack, nil
	case courseReused:
		settled, err := l.answerReuse(j)
		return next, settled, err
	case courseAgain:
		settled, err := l.schedule(j, next, at)
		return next, settled, err
	default:
		return next, "", nil
	}
}
