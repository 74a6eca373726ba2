package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/limiter"
)

// job is the request of one delivery, on its way from the message to its
// settlement.
type job struct {
	*delivery
	events.Request
	fingerprint string
	progress    ledger.Progress
	ctx         context.Context // carries the span of its processing
	end         func(error)     // ends that span

	rounds        int                // batches that it was in
	startDeadline time.Time          // when a call for it must have begun; zero while it is not claimed
	pendingClaim  *ledger.Pending    // the record of a claim that may be stored, nil if there is none
	pendingSince  time.Time          // when that was first sent
	mustRecord    bool               // no record says yet that its claim, or its last call, is over
	accepted      limiter.Acceptance // of a credential, as it was known before the call
	evidence      *events.Evidence   // of this delivery's call, nil before it
}

// size is the number of ids of the job in a call.
func (j *job) size() int {
	return max(len(j.Resource.BatchIDs()), 1)
}

// batch is the requests of one call. Jobs join it until it is full, or until the
// call may be made.
type batch struct {
	jobs  []*job
	ids   int
	alone bool          // it takes no second job
	full  chan struct{} // closed when no more jobs fit; nil if alone
}

// batcher puts requests that wait at the same time into one batch. A request is
// never split. start is called once for each batch, with its first job in it.
type batcher struct {
	maxIDs int // in a call; 1: every request alone
	start  func(*batch)

	mu   sync.Mutex
	open *batch // takes more jobs
}

// add puts j into the open batch or into a new one; alone, into one of its own.
func (b *batcher) add(j *job, alone bool) {
	if alone || b.maxIDs <= 1 {
		b.start(&batch{jobs: []*job{j}, ids: j.size(), alone: true})
		return
	}
	b.mu.Lock()
	if b.open != nil && b.open.ids+j.size() > b.maxIDs {
		b.closeOpen()
	}
	current := b.open
	if current == nil {
		current = &batch{full: make(chan struct{})}
		b.open = current
		defer b.start(current)
	}
	current.jobs = append(current.jobs, j)
	if current.ids += j.size(); current.ids >= b.maxIDs {
		b.closeOpen()
	}
	b.mu.Unlock()
}

// closeOpen lets no more jobs join the open batch. The lock is held.
func (b *batcher) closeOpen() {
	close(b.open.full)
	b.open = nil
}

// close lets no more jobs join a batch, and returns those that did.
func (b *batcher) close(of *batch) []*job {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == of {
		b.open = nil
	}
	return of.jobs
}

// merge returns the resource of a call for all jobs, with each id once.
func merge(jobs []*job) events.Resource {
	if len(jobs) == 1 {
		return jobs[0].Resource
	}
	var all []int64
	seen := map[int64]bool{}
	for _, j := range jobs {
		for _, id := range j.Resource.BatchIDs() {
			if !seen[id] {
				seen[id] = true
				all = append(all, id)
			}
		}
	}
	return jobs[0].Resource.WithIDs(all)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
