package consumer

import (
	"context"
	"log/slog"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/internal/failpoint"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// work processes a batch: it acquires one permission to call, claims the jobs, makes the
// call, and finishes each job.
func (l *Lane) work(stop, ctx context.Context, b *batch) {
	open := l.control.Open() // ends with stop, or when the lane is paused
	l.linger(open, b)
	p, permitted := l.acquire(open, b)
	jobs := l.batcher.close(b)
	if !permitted {
		for _, j := range jobs {
			l.returnMessage(stop, j)
		}
		return
	}
	jobs = l.claimAll(ctx, jobs)
	if len(jobs) > 1 {
		jobs = l.splitSingle(jobs)
	}
	l.limiter.Claimed(time.Since(p.at))
	var results []callResult
	if len(jobs) > 0 {
		failpoint.At(failpoint.Claimed)
		results = l.callFor(stop, ctx, p.probe, jobs)
	}
	l.breaker.Release(p.probe)
	l.limiter.Release()
	l.finish(stop, jobs, results)
}

// linger waits until the batch is full, but at most for BatchLinger.
func (l *Lane) linger(stop context.Context, b *batch) {
	if b.alone {
		return
	}
	timer := time.NewTimer(l.config.BatchLinger)
	defer timer.Stop()
	select {
	case <-b.full:
	case <-timer.C:
	case <-stop.Done():
	}
}

// permit is the permission to make one call.
type permit struct {
	probe int       // the breaker's number of a probe, 0 for none
	at    time.Time // when it was given
}

// acquire waits until a call may be made soon. permitted is false if stop ends or the
// breaker lets no call through.
func (l *Lane) acquire(stop context.Context, b *batch) (p permit, permitted bool) {
	if l.limiter.Acquire(stop) != nil {
		return p, false
	}
	p.at = time.Now()
	refusedAlone := b.alone && b.jobs[0].progress.RefusedAlone()
	if p.probe, permitted = l.breaker.Allow(refusedAlone); !permitted {
		l.limiter.Release()
	}
	return p, permitted
}

// splitSingle puts jobs that must not share a call into batches of their own, and returns
// the others. This became known only after the batch was formed: from their records, or
// because the API has refused a call since.
func (l *Lane) splitSingle(jobs []*job) []*job {
	single := l.breaker.SingleRequests()
	shared := jobs[:0:0]
	for _, j := range jobs {
		if j.progress.Single() || single && len(shared) > 0 {
			l.add(j)
			continue
		}
		shared = append(shared, j)
	}
	return shared
}

// finish decides on the next step of each job and stores it. The step of a single job is
// stored before finish returns. Of a batch, the final results are published together, and
// every other step is stored in the background, so that no job delays another.
func (l *Lane) finish(stop context.Context, jobs []*job, answered []callResult) {
	together := len(jobs) > 1
	var results []*ledger.Pending
	var ended []decided
	for i, j := range jobs {
		s := answered[i]
		if s.retry {
			l.retry(stop, j, s)
			continue
		}
		j.progress.Attempts += s.calls - 1
		j.startDeadline, j.mustRecord = time.Time{}, false
		l.answered(j, s)
		step := l.decide(j, s)
		l.metrics.decided(s.answer, step.outcome == "", j.progress.AwaitingRemoval)
		if together && step.outcome.Final() {
			if r, err := l.newResult(j.ctx, j.ID, j.fingerprint, j.progress, j.result(step)); err == nil {
				results, ended = append(results, r), append(ended, decided{j, step})
				continue
			}
		}
		if together {
			l.storeInBackground(j, step)
		} else {
			l.storeStep(j, step)
		}
	}
	if len(results) == 0 {
		return
	}
	end := l.trace.appendAll(func(i int) context.Context { return ended[i].job.ctx }, "result", results)
	l.ledger.AppendAll(ended[0].job.ctx, results)
	end()
	for i, r := range results {
		j, step := ended[i].job, ended[i].step
		if r.Stored {
			l.published(j.ctx, r, step.resultError)
			failpoint.At(failpoint.Resulted)
			l.done(j, ack, nil)
			continue
		}
		l.steps.Go(func() {
			settled, err := l.storeResult(j, step, r)
			l.done(j, settled, err)
		})
	}
}

// storeStep makes the step of a job durable, and settles the job.
func (l *Lane) storeStep(j *job, step nextStep) {
	settled, err := l.store(j, step)
	l.done(j, settled, err)
}

// storeInBackground is storeStep without waiting for it.
func (l *Lane) storeInBackground(j *job, step nextStep) {
	l.steps.Go(func() { l.storeStep(j, step) })
}

// decided is a job whose next step is known.
type decided struct {
	job  *job
	step nextStep
}

// answered logs and traces the answer to a request.
func (l *Lane) answered(j *job, s callResult) {
	a := s.answer
	if l.log.Enabled(j.ctx, slog.LevelDebug) {
		l.log.DebugContext(j.ctx, "answered", "request_id", j.ID, "attempt", j.progress.Attempts, "verdict", string(a.Verdict),
			"status", a.Status, "message", a.Message, "call_id", a.CallID)
	}
	l.trace.answered(j.ctx, j.progress.Attempts, a)
	if !s.unanswered {
		evidence := evidenceOf(a)
		j.evidence = &evidence
	}
	failpoint.At(failpoint.Answered)
}

// decide returns the next step of one request in a call. Its progress contains the
// answer, for people who ask why the request waits.
func (l *Lane) decide(j *job, s callResult) nextStep {
	step := l.stepAfter(j, s)
	if !step.nextCallAt.IsZero() {
		message := s.answer.Message
		if s.unanswered && s.answer.Status == 0 && message == "" {
			message = "no call could be made for this request alone"
		}
		step.progress.Answer = ledger.NewAnswer(s.answer.Status, message, l.clock.now())
	}
	return step
}

// stepAfter applies [decide] to the result of a call for one of its requests.
func (l *Lane) stepAfter(j *job, s callResult) nextStep {
	if s.answer.Verdict == deleter.CredentialRefused {
		id := j.ID
		l.refused.Store(&id)
	}
	now := l.clock.now()
	if s.unanswered {
		return decideUnanswered(l.config.Rules, j.progress, s.answer, now)
	}
	if s.answer.Verdict == deleter.Retry { // a failed result keeps it for a replay
		j.progress.MayHaveDeleted = j.progress.MayHaveDeleted || s.answer.MayHaveDeleted
	}
	// The API may have accepted the credential in another call after it refused it in
	// this one, so only acceptances from before this call count.
	step := decide(l.config.Rules, j.progress, s.answer, j.accepted.Since(s.answer.Credential), now)
	var waitsUntil time.Time
	var refusal string
	noTimeCounts := step.progress.Elapsed == j.progress.Elapsed
	if s.answer.Verdict == deleter.CredentialRefused && step.outcome == "" && noTimeCounts {
		waitsUntil = step.nextCallAt
		refusal = ledger.Answer{Status: s.answer.Status, Message: s.answer.Message}.Text()
	}
	l.refusals.report(j.ID, waitsUntil, refusal)
	return step
}

// retry puts a job that has no answer into another batch.
func (l *Lane) retry(stop context.Context, j *job, s callResult) {
	if s.calls > 0 { // the attempt was made
		j.progress.Attempts += s.calls - 1
		j.startDeadline, j.mustRecord = time.Time{}, true
	}
	if j.rounds++; stop.Err() != nil || j.rounds >= maxRounds {
		l.returnMessage(stop, j)
		return
	}
	l.add(j)
}
