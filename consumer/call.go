package consumer

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/internal/limiter"
)

// callFor makes a call for all jobs, and smaller ones until each job has its own answer.
// probe is the number in their permit.
func (l *Lane) callFor(stop, ctx context.Context, probe int, jobs []*job) []callResult {
	ctx, end := l.trace.call(ctx, jobs)
	defer end()
	if len(jobs) == 1 {
		answer, made := l.call(ctx, jobs)
		if !made {
			return []callResult{{retry: true}}
		}
		answer.Requests = 1
		return []callResult{{answer: answer, calls: 1}}
	}
	first := true
	n := &bisection{
		halted: func() bool { return !l.breaker.Allows(probe) || !l.control.MayCall() },
		try: func(set []int) (deleter.Answer, []int) {
			if !first {
				set = l.stillClaimed(stop, jobs, set)
			}
			first = false
			if len(set) == 0 {
				return deleter.Answer{}, nil
			}
			answer, made := l.call(ctx, subset(jobs, set))
			if !made {
				return deleter.Answer{}, nil
			}
			return answer, set
		},
		refusedOf: func(i int, a deleter.Answer) []int64 {
			var ids []int64
			for _, id := range jobs[i].Resource.BatchIDs() {
				if slices.Contains(a.Refused, id) {
					ids = append(ids, id)
				}
			}
			return ids
		},
	}
	return n.run(len(jobs))
}

// subset returns the jobs at the indexes in set.
func subset(jobs []*job, set []int) []*job {
	if len(set) == len(jobs) {
		return jobs
	}
	some := make([]*job, len(set))
	for i, at := range set {
		some[i] = jobs[at]
	}
	return some
}

// call makes one call for jobs. It makes none if the right to call ends before the call's
// turn: by a job's start deadline, by a pause, or because the worker stops. The end of
// the grace period cancels it.
func (l *Lane) call(ctx context.Context, jobs []*job) (answer deleter.Answer, made bool) {
	deadline := jobs[0].startDeadline
	for _, j := range jobs {
		deadline = earlier(deadline, j.startDeadline)
	}
	deadline = l.control.Begin(deadline)
	defer l.control.End()
	begun, err := l.waitToCall(l.control.Open(), deadline)
	if err != nil {
		return answer, false
	}
	ctx, cancel := context.WithTimeout(trace.ContextWithSpan(l.calls, trace.SpanFromContext(ctx)), l.config.Timeout)
	defer cancel()
	accepted := l.breaker.Accepted()
	for _, j := range jobs {
		j.accepted = accepted
		l.callBegins(j.delivery)
	}
	since := l.clock.now()
	began := l.latencies.begin(begun)
	answer = l.config.Deleter.Delete(deleter.WithStartDeadline(ctx, deadline), merge(jobs))
	answer.Duration = time.Since(begun)
	l.latencies.end(began, time.Now(), informative(answer, l.config.Timeout))
	throttled := l.limiter.Learn(begun, answer)
	l.breaker.Record(answer, limiter.Call{
		Shared: len(jobs) > 1, RefusedAlone: len(jobs) == 1 && jobs[0].progress.RefusedAlone(), Throttled: throttled, Since: since,
	})
	l.metrics.call(answer, len(jobs))
	return answer, true
}

// waitToCall waits until a call may begin: before the deadline, and before stop ends.
func (l *Lane) waitToCall(stop context.Context, deadline time.Time) (begun time.Time, err error) {
	if l.clock.passed(deadline) {
		return begun, context.DeadlineExceeded
	}
	return l.limiter.Wait(stop, deadline)
}

// stillClaimed returns the jobs of set that may be in a further call: no other record was
// stored since their claim, and this worker still has their messages. It returns none if
// stop ends, or if no call can be made soon.
func (l *Lane) stillClaimed(stop context.Context, jobs []*job, set []int) []int {
	// Other jobs have their answers already, and must not wait until the API works again.
	soon, cancel := context.WithTimeout(stop, leaseSlack)
	defer cancel()
	if l.limiter.WaitForLeadTime(soon) != nil {
		return nil
	}
	claimed := make([]bool, len(set))
	var checks sync.WaitGroup
	for n, i := range set {
		j := jobs[i]
		if l.isClaimed(j) {
			claimed[n] = true
			continue
		}
		if l.config.RecordAttempts {
			continue // no call may outlive the lease that was recorded
		}
		checks.Go(func() {
			deadline, begun := j.ackDeadline(l.ackWait.get()), time.Now()
			if l.clock.passed(deadline) || l.ledger.CheckHead(j.ctx, j.ID, j.progress) != nil {
				return
			}
			j.startDeadline, claimed[n] = earlier(begun.Add(leaseSlack), deadline), true
		})
	}
	checks.Wait()
	var still []int
	for n, i := range set {
		if claimed[n] {
			still = append(still, i)
		}
	}
	return still
}
