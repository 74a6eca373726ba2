package consumer

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

// pace says when the lane may make its next call: how many may be out at the
// same time, and at which rate they may begin. Both follow what the API answers.
//
// A request enters before it is claimed, and takes its turn right before its
// call: what lies between takes its time, and would make bursts of an even rate.
// So that claiming keeps no call waiting, as many more may enter than calls may be
// out as are claimed in the time of a call, twice that to be sure.
type pace struct {
	log     *slog.Logger
	timeout time.Duration // of a call
	longest time.Duration // that an API may stop the lane for

	door   chan struct{} // held by the one who enters next,
	turns  chan struct{} // and by the one whose turn comes next
	places chan struct{} // one for each request that has entered; some are withheld

	mu       sync.Mutex
	breadth  *breadth
	speed    *speed
	withheld int
	out      int           // calls
	claiming time.Duration // from entering to the call, lately
	calling  time.Duration // from a call to its answer, lately
	changed  chan struct{} // closed and replaced at each change
}

// lead is how long before its turn a request may enter: it is claimed by then, and
// its right to call lasts until then.
const lead = time.Second

func newPace(concurrency int, perSecond float64, timeout, longest time.Duration, log *slog.Logger) *pace {
	p := &pace{
		log: log, timeout: timeout, longest: longest,
		door: make(chan struct{}, 1), turns: make(chan struct{}, 1), places: make(chan struct{}, 2*concurrency),
		breadth: newBreadth(concurrency), speed: newSpeed(perSecond, longest),
		changed: make(chan struct{}),
	}
	for ; p.withheld < cap(p.places)-p.admitted(); p.withheld++ {
		p.places <- struct{}{}
	}
	return p
}

// admitted is how many may have entered: those whose calls may be out, and those
// who are claimed meanwhile. Of an API that is slow next to the server these are none.
func (p *pace) admitted() int {
	limit, ahead := p.breadth.limit(), 0.0
	if p.calling > 0 {
		ahead = float64(limit) * min(2*float64(p.claiming)/float64(p.calling), 1)
	}
	return limit + int(ahead)
}

// claimed takes how long a request took from entering to its call.
func (p *pace) claimed(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claiming = smoothed(p.claiming, took)
}

// smoothed follows what something takes, by a moving average.
func smoothed(average, now time.Duration) time.Duration {
	if average == 0 {
		return now
	}
	return average + (now-average)/16
}

// enter waits for a place, and until there is a turn soon. Whoever gets in must
// leave. It fails only when ctx ends.
func (p *pace) enter(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case p.door <- struct{}{}:
	}
	defer func() { <-p.door }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case p.places <- struct{}{}:
	}
	if err := p.near(ctx); err != nil {
		p.leave()
		return err
	}
	return nil
}

// near waits until there is a turn soon, for one who has entered.
func (p *pace) near(ctx context.Context) error {
	return p.waitFor(ctx, func(now time.Time) (time.Duration, bool) {
		wait, answer := p.speed.wait(now)
		before := len(p.places) - p.withheld - p.out - 1
		wait += time.Duration(min(float64(max(before, 0))*float64(p.speed.interval()), math.MaxInt64/4))
		return wait - lead, answer
	})
}

// take waits for the turn, and returns when the call begins. Whoever gets it must
// tell what came of the call. It fails only when ctx ends.
func (p *pace) take(ctx context.Context) (begun time.Time, err error) {
	asked := time.Now()
	defer func() {
		if err != nil { // nobody was to enter that early
			p.mu.Lock()
			defer p.mu.Unlock()
			p.calling = max(p.calling, time.Since(asked))
		}
	}()
	select {
	case <-ctx.Done():
		return begun, ctx.Err()
	case p.turns <- struct{}{}:
	}
	defer func() { <-p.turns }()
	waited := false
	err = p.waitFor(ctx, func(now time.Time) (time.Duration, bool) {
		wait, answer := p.speed.wait(now)
		if p.out >= p.breadth.limit() {
			return wait, true
		}
		if wait <= 0 && !answer {
			begun = now
			p.speed.begin(now, waited)
			p.out++
		}
		waited = waited || !answer
		return wait, answer
	})
	return begun, err
}

// waitFor waits as long as wait says, asking it again after each change, with the
// lock held; and for a change if that is all that helps.
func (p *pace) waitFor(ctx context.Context, wait func(now time.Time) (d time.Duration, change bool)) error {
	for ctx.Err() == nil {
		p.mu.Lock()
		d, change := wait(time.Now())
		changed := p.changed
		p.mu.Unlock()
		if change {
			d = time.Hour
		}
		if d <= 0 {
			return nil
		}
		timer := time.NewTimer(d)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	return ctx.Err()
}

// leave gives the place up, to be withheld if there are more than may be out.
func (p *pace) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.withheld < cap(p.places)-p.admitted() {
		p.withheld++
		return
	}
	<-p.places
}

// widen frees the places that were withheld and need not be any more.
func (p *pace) widen() {
	for ; p.withheld > cap(p.places)-p.admitted(); p.withheld-- {
		<-p.places
	}
}

// learn takes what came of the call that began then.
func (p *pace) learn(begun time.Time, a deleter.Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.out--
	if took := now.Sub(begun); a.Status != 0 || took > p.calling {
		p.calling = smoothed(p.calling, took)
	}
	refused := a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable && a.RetryAfter > 0
	switch {
	case a.Status == 0 && now.Sub(begun) >= p.timeout:
		p.breadth.timedOut(begun, now)
		p.log.Debug("a call timed out, fewer are made at the same time", "calls", p.breadth.limit())
	case a.Status != 0 && a.Status < 500 && !refused: // faults and refusals are quick
		p.breadth.answered(begun, now)
	}
	p.learnSpeed(begun, a, refused, now)
	p.widen()
	close(p.changed)
	p.changed = make(chan struct{})
}

// learnSpeed learns the rate.
func (p *pace) learnSpeed(begun time.Time, a deleter.Answer, refused bool, now time.Time) {
	if a.Quota.Rate > 0 {
		p.speed.grant(a.Quota.Rate)
	}
	known := p.speed.learned
	switch {
	case refused:
		if !p.speed.refuse(begun, now, min(max(a.RetryAfter, a.Quota.Wait), p.longest)) {
			return
		}
		tell := p.log.Debug
		if !known {
			tell = p.log.Info
		}
		tell("the API limits its calls, the lane finds its rate", "calls_per_second", p.speed.rate())
	case a.Quota.Wait > 0:
		p.speed.refuse(begun, now, min(a.Quota.Wait, p.longest))
	case a.Status == 0:
		p.speed.nothing(begun)
	case p.speed.passed(begun):
		p.log.Debug("the API lets calls through again", "calls_per_second", p.speed.rate())
	}
}

// state reports how many calls may be out, and how many a second may begin, 0 for
// no limit.
func (p *pace) state() (calls int, perSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if perSecond = p.speed.rate(); math.IsInf(perSecond, 0) {
		perSecond = 0
	}
	return p.breadth.limit(), perSecond
}
