package consumer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

// gatherer puts requests that wait at the same time together for one call. A
// request is never split, and one that no other can join goes alone.
type gatherer struct {
	most   int           // ids in a call; 1: every request goes alone
	linger time.Duration // the longest that the first one waits for others

	mu   sync.Mutex
	open *batch // takes more
}

// batch is the requests of one call. They gather, get the permission to call
// together, claim each for itself, and meet again for the call: who has nothing
// to call for any more leaves.
type batch struct {
	sealed chan struct{} // closed when no more join
	met    chan struct{} // closed when all have come or left

	permission sync.Once
	permitted  bool
	probe      int       // the breaker's, 0 for none
	entered    time.Time // when it was permitted

	mu     sync.Mutex
	size   int // ids
	absent int // who has neither come nor left
	come   []*seat
	fired  bool // the call is under way, or needless
}

// seat is a request's place in a batch.
type seat struct {
	*batch
	*job
	ctx      context.Context
	alone    bool       // nobody shares the batch
	accepted acceptance // of a credential, as it was known before the call
	by       time.Time  // when the call must have begun
	share    chan share
}

// join takes a seat, in the batch that is open or in a new one. Who is alone shares
// it with nobody.
func (g *gatherer) join(ctx context.Context, j *job, alone bool) *seat {
	if alone {
		b := &batch{sealed: make(chan struct{}), met: make(chan struct{}), absent: 1}
		close(b.sealed)
		return &seat{batch: b, job: j, ctx: ctx, alone: true, share: make(chan share, 1)}
	}
	size := 1
	if contexts, ok := j.Resource.(events.UserContexts); ok {
		size = len(contexts.IDs)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil && g.open.size+size > g.most {
		g.seal(g.open)
	}
	b := g.open
	if b == nil {
		b = &batch{sealed: make(chan struct{}), met: make(chan struct{})}
		g.open = b
		if size < g.most {
			time.AfterFunc(g.linger, func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.seal(b)
			})
		}
	}
	b.size += size
	b.absent++
	if b.size >= g.most {
		g.seal(b)
	}
	return &seat{batch: b, job: j, ctx: ctx, alone: g.most <= 1, share: make(chan share, 1)}
}

// seal closes a batch, if it is the open one.
func (g *gatherer) seal(b *batch) {
	if g.open == b {
		g.open = nil
		close(b.sealed)
	}
}

// permit waits until the batch is whole and may make its call, for which the
// first to ask waits on behalf of all. It says no when stop ends, or when the
// lane may not call now.
func (l *Lane) permit(stop context.Context, s *seat) bool {
	<-s.sealed // within linger
	s.permission.Do(func() {
		if l.pace.enter(stop) != nil {
			return
		}
		s.entered = time.Now()
		if s.probe, s.permitted = l.breaker.allow(s.history.suspect()); !s.permitted {
			l.pace.leave()
		}
	})
	return s.permitted
}

// meetWithin bounds how long those who have come wait for the others, one of
// which may be held up by what it has to store or look at.
const meetWithin = time.Second

// meet waits for the others of the batch, and for the answer to the call that is
// made for all who come. Who comes too late gets none.
func (l *Lane) meet(stop context.Context, s *seat) share {
	s.mu.Lock()
	if s.fired {
		s.mu.Unlock()
		return share{again: true}
	}
	s.come = append(s.come, s)
	s.arrived()
	all := s.absent == 0
	s.mu.Unlock()

	if !all {
		late := time.NewTimer(meetWithin)
		defer late.Stop()
		select {
		case answer := <-s.share:
			return answer
		case <-s.met:
		case <-late.C:
		}
	}
	s.mu.Lock()
	first := !s.fired
	s.fired = true
	come := s.come
	s.mu.Unlock()
	if first {
		l.pace.claimed(time.Since(s.entered))
		l.callFor(stop, s.ctx, come)
		l.giveUp(s.batch)
	}
	return <-s.share
}

// leave gives the seat up, for a request that needs no call any more.
func (l *Lane) leave(s *seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived()
	if s.absent == 0 && len(s.come) == 0 && !s.fired {
		s.fired = true
		if s.permitted {
			l.giveUp(s.batch)
		}
	}
}

// giveUp gives back what permit took.
func (l *Lane) giveUp(b *batch) {
	l.breaker.release(b.probe)
	l.pace.leave()
}

// arrived counts one who has come or left, with the lock held.
func (b *batch) arrived() {
	if b.absent--; b.absent == 0 {
		close(b.met)
	}
}

// callFor makes the call for all seats, or as many as it needs until each has its
// own answer.
func (l *Lane) callFor(stop, ctx context.Context, seats []*seat) {
	ctx, end := l.trace.call(ctx, seats)
	defer end()
	first := true
	n := &narrowing{
		halted: func() bool { return !l.breaker.goesOn(seats[0].probe) },
		try: func(set []int) (deleter.Answer, []int) {
			if !first {
				set = l.stillWanted(stop, seats, set)
			}
			first = false
			if len(set) == 0 {
				return deleter.Answer{}, nil
			}
			answer, made := l.call(stop, ctx, seats, set)
			if !made {
				return deleter.Answer{}, nil
			}
			return answer, set
		},
		refusedOf: func(i int, a deleter.Answer) []int64 {
			contexts, _ := seats[i].Resource.(events.UserContexts)
			var own []int64
			for _, id := range contexts.IDs {
				if slices.Contains(a.Refused, id) {
					own = append(own, id)
				}
			}
			return own
		},
	}
	for i, answer := range n.narrow(len(seats)) {
		seats[i].share <- answer
	}
}

// stillWanted returns which of set may go into a further call: nobody has
// answered them since they were looked at, and they are still this worker's. None
// are when stop ends, or when no call can be made soon.
func (l *Lane) stillWanted(stop context.Context, seats []*seat, set []int) []int {
	// Others of these have their answers, and are not to wait until the API is well again.
	soon, cancel := context.WithTimeout(stop, leaseSlack)
	defer cancel()
	if l.pace.near(soon) != nil {
		return nil
	}
	var mu sync.Mutex
	var wanted []int
	var looks sync.WaitGroup
	for _, i := range set {
		s := seats[i]
		if !l.clock.over(s.by) {
			mu.Lock()
			wanted = append(wanted, i)
			mu.Unlock()
			continue
		}
		looks.Go(func() {
			ours, begun := s.oursUntil(l.ackWait.get()), time.Now()
			if l.clock.over(ours) || l.chain.follows(s.ctx, s.ID, s.history) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			s.by = earlier(begun.Add(leaseSlack), ours)
			wanted = append(wanted, i)
		})
	}
	looks.Wait()
	slices.Sort(wanted)
	return wanted
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// together is one resource of those of some seats, each id once.
func together(seats []*seat, set []int) events.Resource {
	if len(set) == 1 {
		return seats[set[0]].Resource
	}
	var all events.UserContexts
	known := map[int64]bool{}
	for _, i := range set {
		contexts, _ := seats[i].Resource.(events.UserContexts)
		for _, id := range contexts.IDs {
			if !known[id] {
				known[id] = true
				all.IDs = append(all.IDs, id)
			}
		}
	}
	return all
}
