package consumer

import (
	"fmt"
	"slices"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// worker is the next step of a worker.
func (m *model) worker(l life, i int, then func(func(*life))) {
	h := l.hands[i]
	if m.waits && l.stranger && (h.at == claiming || h.at == storing || h.at == noting) {
		return
	}
	switch h.at {
	case idle:
		for s, letter := range l.letters {
			if letter.there && letter.waiting {
				then(func(l *life) { m.take(l, i, int8(s)) })
			}
		}
	case claiming:
		then(func(l *life) { m.claim(l, i) })
		if l.held[i] && h.known.refused { // another may probe first
			then(func(l *life) { m.putOff(l, i) })
		}
	case looking:
		if h.seen.by == nobody || int(h.seen.by) == i || l.hands[h.seen.by].stale {
			then(func(l *life) { m.follow(l, i, noon.Add(time.Hour)) })
		}
		if h.seen.by == nobody || !l.hands[h.seen.by].stale {
			then(func(l *life) { m.follow(l, i, noon) })
		}
	case claimed:
		then(func(l *life) { m.call(l, i) })
		if l.misses > 0 {
			then(func(l *life) { m.releaseClaim(l, i) })
		}
	case calling:
		m.api(l, i, then)
	case deciding:
		then(func(l *life) { m.decide(l, i) })
	case storing:
		then(func(l *life) { m.store(l, i) })
	case noting:
		then(func(l *life) { m.note(l, i) })
	case scheduling:
		then(func(l *life) {
			l.later = letter{there: true, history: l.hands[i].next}
			l.hands[i].at = acking
		})
	case acking:
		then(func(l *life) {
			l.letters[h.slot].there = false
			l.rest(i)
			l.lost()
		})
	}
}

// fate is what may befall a worker at any time.
func (m *model) fate(l life, i int, then func(func(*life))) {
	h := l.hands[i]
	if h.at == idle {
		return
	}
	between := h.at >= claimed && h.at <= noting
	if l.crashes > 0 {
		then(func(l *life) {
			l.crashes--
			l.vague = l.vague || between
			if h.at == calling && !h.effect {
				l.orphans++
			}
			l.accepted[i], l.held[i] = false, false
			l.release(i)
		})
	}
	if l.stalls > 0 && !h.stale {
		then(func(l *life) {
			l.stalls--
			l.vague = l.vague || between
			l.hands[i].stale = true
			l.letters[h.slot].waiting = l.letters[h.slot].there // and the server delivers it again
			if h.at == calling {                                // which has its time-out
				if !h.effect {
					l.orphans++
				}
				l.hands[i].at, l.hands[i].answer, l.hands[i].maybe = deciding, verdictOf(deleter.Retry), true
			}
		})
	}
}

func verdictOf(v deleter.Verdict) verdict { return verdict(slices.Index(verdicts, v)) }

// rest leaves a worker without work.
func (l *life) rest(i int) {
	l.hands[i] = hands{}
	if int(l.last.by) == i {
		l.last.by = nobody
	}
	for w := range l.hands {
		if int(l.hands[w].seen.by) == i && l.hands[w].at != idle {
			l.hands[w].seen.by = nobody
		}
	}
}

// release lets a worker's message go, to be delivered again.
func (l *life) release(i int) {
	if letter := &l.letters[l.hands[i].slot]; letter.there {
		letter.waiting = true
	}
	l.rest(i)
}

// lost breaks the promise that an acknowledged request has its result, or its
// next step, stored.
func (l *life) lost() {
	if l.finished || l.later.there {
		return
	}
	for _, letter := range l.letters {
		if letter.there {
			return
		}
	}
	l.broken = nothingLost
}

func (l *life) used(s int) bool {
	for _, h := range l.hands {
		if h.at != idle && int(h.slot) == s {
			return true
		}
	}
	return false
}

func (l *life) put(new letter) {
	for s := range l.letters {
		if !l.letters[s].there && !l.used(s) {
			l.letters[s] = new
			return
		}
	}
	panic("the model needs more slots")
}

// tidy gives states that differ only in the order of their messages one form.
func (l *life) tidy() {
	rank := func(s int) (n int) {
		k := l.letters[s]
		for i, b := range []bool{k.there, k.waiting, k.due, k.delivered, k.history.fresh, k.history.none, k.history.unanswered, k.history.confirming, k.history.refused} {
			if b {
				n |= 1 << i
			}
		}
		for w, h := range l.hands {
			if h.at != idle && int(h.slot) == s {
				n |= 1 << (9 + w)
			}
		}
		return n
	}
	for s := range l.letters {
		if !l.letters[s].there && !l.used(s) {
			l.letters[s] = letter{}
		}
	}
	for end := len(l.letters) - 1; end > 0; end-- {
		for s := range end {
			if rank(s) >= rank(s+1) {
				continue
			}
			l.letters[s], l.letters[s+1] = l.letters[s+1], l.letters[s]
			for w := range l.hands {
				switch h := &l.hands[w]; {
				case h.at == idle:
				case int(h.slot) == s:
					h.slot++
				case int(h.slot) == s+1:
					h.slot--
				}
			}
		}
	}
}

// remove is a deletion by the API.
func (l *life) remove() {
	if l.present {
		l.present, l.ours = false, true
	}
}

// quiet says that no worker can still be working on the request: records are
// stored for much longer than a lease.
func (l *life) quiet() bool {
	for _, h := range l.hands {
		if h.at != idle && !h.stale {
			return false
		}
	}
	return true
}

// expire lets all records go. What knows of none then knows the end of the chain.
func (l *life) expire() {
	l.expiries--
	l.expired, l.vague = true, true // what came of them is forgotten
	l.linked, l.stranger, l.last = false, false, mark{by: nobody}
	known := func(r *remembered) { r.fresh = r.none }
	known(&l.later.history)
	for s := range l.letters {
		known(&l.letters[s].history)
	}
	for w := range l.hands {
		h := &l.hands[w]
		known(&h.known)
		known(&h.current)
		known(&h.next)
		h.past, h.seenFresh = false, false
	}
}

// stored is what comes of an append.
type stored int8

const (
	refusal   stored = iota // a link is there that the writer does not know
	accepted                // the link is the last one
	readAgain               // a foreign message was there; now the writer expects it
)

// append stores a link, if its writer knew the last one: chain.go's append, of which
// one step is a try and, where that is refused, the read after it.
func (m *model) append(l *life, i int, k mark, follows remembered) stored {
	h := &l.hands[i]
	switch {
	case m.noExpectation:
	case l.stranger && !h.past && (follows.fresh || m.blindPast):
		h.past = true
		return readAgain
	case l.stranger && m.blindPast:
	case !follows.fresh:
		return refusal
	}
	// Nobody else knows the last link any more.
	l.later.history.fresh = false
	for s := range l.letters {
		l.letters[s].history.fresh = false
	}
	for w := range l.hands {
		h := &l.hands[w]
		h.known.fresh, h.current.fresh, h.next.fresh, h.seenFresh, h.past = false, false, false, false, false
	}
	k.by = int8(i)
	k.known.fresh, k.known.none = true, false // it is the last link itself
	l.last, l.linked, l.stranger = k, true, false
	if !k.outcome.final() {
		return accepted
	}
	switch {
	case l.finished:
		l.broken = oneFinal
	case outcomes[k.outcome] == events.NotFound && l.ours:
		l.broken = notFoundIsTrue
	case outcomes[k.outcome] == events.Deleted && l.present && !l.pending:
		l.broken = deletedIsTrue
	case outcomes[k.outcome] == events.Failed && !l.forbidden:
		l.broken = refusedIsTrue
	case outcomes[k.outcome] == events.Deleted && l.absent && l.recorded && !l.vague:
		l.broken = deletedIsPossible
	}
	l.finished = true
	return accepted
}

func (m *model) take(l *life, i int, slot int8) {
	from := &l.letters[slot]
	from.waiting = false
	known := from.history
	// startingPoint: what it cannot know of may have deleted.
	if lost := from.due || known.none && from.delivered && l.expired; lost && !m.noLoss {
		known.unanswered = true
	}
	from.delivered = l.expiries > 0 || l.expired
	l.hands[i] = hands{at: claiming, slot: slot, known: known}
	if m.ackFirst {
		l.letters[slot].there = false
		l.lost()
	}
}

// claim: process.go's attempt, up to the call.
func (m *model) claim(l *life, i int) {
	h := &l.hands[i]
	if h.stale && !m.noLease {
		l.release(i) // the message may be another's
		return
	}
	h.current = h.known
	switch {
	case !l.recorded || m.noAttempts:
		if !h.current.fresh {
			l.look(i)
			return
		}
	default:
		switch m.append(l, i, mark{known: h.current, leased: true}, h.current) {
		case refusal:
			l.look(i)
			return
		case readAgain:
			return
		}
		h.current.fresh, h.current.none = true, false
	}
	h.at = claimed
}

func (l *life) look(i int) {
	h := &l.hands[i]
	h.at, h.seen, h.seenFresh, h.seenNone = looking, l.last, true, !l.linked
}

// follow: claim.go's resolve. Whether a next step is scheduled is looked up
// after the chain was, so both may be of different moments.
func (m *model) follow(l *life, i int, now time.Time) {
	h := &l.hands[i]
	last := &ledger.Record{Seq: seenSeq, StoredAt: noon, Outcome: outcomes[h.seen.outcome], Instance: fmt.Sprint(h.seen.by), Progress: h.seen.known.history()}
	last.Progress.Seq = last.Seq
	if h.seen.leased {
		last.Lease = time.Second
	}
	if h.seenNone {
		last = nil
	}
	if m.noLease {
		now = noon.Add(time.Hour)
	}
	action, _, next := ledger.Resolve(h.known.history(), "", last, l.later.there, fmt.Sprint(i), now)
	if m.noUnanswered {
		next.MayHaveDeleted = false
	}
	if h.seenNone && m.noLoss {
		next.MayHaveDeleted = h.known.unanswered
	}
	to := rememberedOf(next, h.known.fresh)
	if next.Seq == seenSeq || h.seenNone {
		to.fresh = h.seenFresh
	}
	h.seen, h.seenFresh, h.seenNone = mark{}, false, false
	switch action {
	case ledger.Acknowledge:
		h.at = acking
	case ledger.ComeBack:
		h.next, h.at = to, scheduling
	default:
		h.known, h.at = to, claiming
	}
}

func (m *model) call(l *life, i int) {
	h := &l.hands[i]
	if h.stale && !m.noLease {
		h.known, h.at = h.current, claiming
		return
	}
	// Where attempts are not recorded, only this check separates two workers,
	// and the call may come a moment after what it did not see yet.
	if l.finished && l.recorded {
		l.broken = noCallAfterFinal
	}
	h.at, h.effect, h.accepted = calling, false, l.accepted[i]
}

// putOff: suspect.go's. The message comes again as it is.
func (m *model) putOff(l *life, i int) {
	h := &l.hands[i]
	h.next, h.at = h.known, scheduling
	if m.putOffUnscheduled {
		h.at = acking
	}
}

// credential is what becomes of it, and what a worker learns by other requests.
func (m *model) credential(l life, then func(func(*life))) {
	if !l.forbidden && !l.revocable {
		return
	}
	if l.revocable && l.revoked != restored {
		then(func(l *life) { l.revoked++ })
	}
	for i := range l.accepted {
		if l.revoked != revoked && (!l.accepted[i] || l.held[i]) {
			then(func(l *life) { l.accepted[i], l.held[i] = true, false })
		}
	}
}

// releaseClaim: process.go's, where the turn of a call does not come.
func (m *model) releaseClaim(l *life, i int) {
	l.misses--
	if current := l.hands[i].current; l.recorded && !m.noRelease {
		// Refused where another worker continues with it.
		if m.append(l, i, mark{known: current}, current) == readAgain {
			m.append(l, i, mark{known: current}, current)
		}
	}
	l.release(i)
}

// api is what may become of a call that is out.
func (m *model) api(l life, i int, then func(func(*life))) {
	answer := func(v deleter.Verdict, maybe bool, change func(*life)) {
		then(func(l *life) {
			change(l)
			l.vague = l.vague || maybe
			h := &l.hands[i]
			h.at, h.answer, h.maybe = deciding, verdictOf(v), maybe
		})
	}
	nothing := func(*life) {}
	if l.forbidden || l.revoked == revoked {
		answer(deleter.CredentialRefused, false, nothing)
		if !l.hands[i].current.refused { // a 401, or the last of many 403
			answer(deleter.CredentialRefused, false, func(l *life) { l.held[i] = true })
		}
		return
	}
	switch {
	case !l.recorded: // k-v.ai, to which everything is always there
		answer(deleter.Deleted, false, (*life).remove)
	case l.present && l.pending:
		answer(deleter.NotFound, false, func(l *life) { l.present = false })
	case l.present:
		answer(deleter.Deleted, false, (*life).remove)
	default:
		answer(deleter.NotFound, false, nothing)
	}
	if l.troubles == 0 {
		return
	}
	answer(deleter.Retry, false, func(l *life) { l.troubles-- }) // 429
	if !l.revocable {                                            // the credential is revoked once, not from call to call
		answer(deleter.CredentialRefused, false, func(l *life) { l.troubles-- }) // 401
	}
	answer(deleter.Retry, true, func(l *life) { l.troubles--; l.orphans++ }) // timed out, it may act yet
	answer(deleter.Retry, true, func(l *life) { l.troubles--; l.remove() })  // deleted, and the answer was lost
	if l.recorded && l.present && l.pending {
		answer(deleter.AcceptedPending, false, func(l *life) { l.troubles-- })
	}
	if l.recorded && l.present && !l.pending {
		answer(deleter.AcceptedPending, false, func(l *life) { l.troubles--; l.pending, l.ours = true, true })
		answer(deleter.Retry, true, func(l *life) { l.troubles--; l.pending, l.ours = true, true })
	}
}

var modelRules = Rules{ConfirmAfter: time.Hour, Retry: Policy{InitialInterval: time.Second, Multiplier: 1, MaxInterval: time.Second, MaxElapsed: 1000 * time.Hour}}

// decide: process.go's store, up to the first publish.
func (m *model) decide(l *life, i int) {
	h := &l.hands[i]
	var accepted time.Time
	if h.accepted || m.alwaysCounts || m.lateCounts && l.accepted[i] {
		accepted = noon
	}
	step := decide(modelRules, h.current.history(), deleter.Answer{Verdict: verdicts[h.answer], Status: 1, MayHaveDeleted: h.maybe}, accepted, noon)
	if !step.progress.Refused.IsZero() && step.progress.Refused != refusedAt && !m.staleCounts {
		l.accepted = [workers]bool{}
	}
	if m.noUnanswered {
		step.progress.MayHaveDeleted = false
	}
	h.outcome, h.again = numbered(step.outcome), !step.nextCallAt.IsZero()
	h.next = rememberedOf(step.progress, h.current.fresh)
	switch {
	case h.outcome != 0:
		h.at = storing
	case !m.noAnswers:
		h.at = noting
	default:
		h.at = scheduling
	}
}

func (m *model) store(l *life, i int) {
	h := &l.hands[i]
	kept := h.next
	if !h.again {
		kept = h.current
	}
	switch m.append(l, i, mark{outcome: h.outcome, known: kept}, h.current) {
	case refusal:
		m.outrun(l, i)
		return
	case readAgain:
		return
	}
	h.next.fresh, h.next.none, h.at = true, false, acking
	if h.again {
		h.at = scheduling
	}
}

func (m *model) note(l *life, i int) {
	h := &l.hands[i]
	switch m.append(l, i, mark{known: h.next}, h.next) {
	case refusal:
		m.outrun(l, i)
		return
	case readAgain:
		return
	}
	h.next.fresh, h.next.none, h.at = true, false, scheduling
}

// outrun: process.go's.
func (m *model) outrun(l *life, i int) {
	if !l.linked { // what the API answered is stored all the same
		h := &l.hands[i]
		h.current.fresh, h.current.none, h.next.fresh, h.next.none = true, true, true, true
		return
	}
	if l.last.outcome.final() {
		l.hands[i].at = acking
		return
	}
	l.release(i)
}
