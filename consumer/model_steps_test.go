package consumer

import (
	"fmt"
	"slices"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// worker adds the states after the next step of worker i.
func (m *model) worker(l modelState, i int, then func(func(*modelState))) {
	h := l.workers[i]
	if m.waitsForForeign && l.foreignHead && (h.step == claiming || h.step == storing || h.step == storingAnswer) {
		return
	}
	switch h.step {
	case idle:
		for s, message := range l.messages {
			if message.exists && message.waiting {
				then(func(l *modelState) { m.receive(l, i, int8(s)) })
			}
		}
	case claiming:
		then(func(l *modelState) { m.claim(l, i) })
		if l.suspended[i] && h.carried.refused { // another request may be the probe
			then(func(l *modelState) { m.postpone(l, i) })
		}
	case readingHead:
		if h.head.by == noWorker || int(h.head.by) == i || l.workers[h.head.by].stale {
			then(func(l *modelState) { m.resolve(l, i, noon.Add(time.Hour)) })
		}
		if h.head.by == noWorker || !l.workers[h.head.by].stale {
			then(func(l *modelState) { m.resolve(l, i, noon) })
		}
	case claimed:
		then(func(l *modelState) { m.call(l, i) })
		if l.missedTurns > 0 {
			then(func(l *modelState) { m.releaseClaim(l, i) })
		}
	case calling:
		m.api(l, i, then)
	case deciding:
		then(func(l *modelState) { m.decide(l, i) })
	case storing:
		then(func(l *modelState) { m.store(l, i) })
	case storingAnswer:
		then(func(l *modelState) { m.storeAnswer(l, i) })
	case scheduling:
		then(func(l *modelState) {
			l.schedule = modelMessage{exists: true, progress: l.workers[i].next}
			l.workers[i].step = acking
		})
	case acking:
		then(func(l *modelState) {
			l.messages[h.slot].exists = false
			l.setIdle(i)
			l.checkLost()
		})
	}
}

// faults adds the states after each fault that can hit worker i now.
func (m *model) faults(l modelState, i int, then func(func(*modelState))) {
	h := l.workers[i]
	if h.step == idle {
		return
	}
	between := h.step >= claimed && h.step <= storingAnswer
	if l.crashes > 0 {
		then(func(l *modelState) {
			l.crashes--
			l.uncertain = l.uncertain || between
			if h.step == calling && !h.effect {
				l.lateCalls++
			}
			l.accepted[i], l.suspended[i] = false, false
			l.release(i)
		})
	}
	if l.suspensions > 0 && !h.stale {
		then(func(l *modelState) {
			l.suspensions--
			l.uncertain = l.uncertain || between
			l.workers[i].stale = true
			l.messages[h.slot].waiting = l.messages[h.slot].exists // and the server delivers it again
			if h.step == calling {                                 // the call times out
				if !h.effect {
					l.lateCalls++
				}
				l.workers[i].step, l.workers[i].answer, l.workers[i].mayHaveDeleted = deciding, verdictNumber(deleter.Retry), true
			}
		})
	}
}

func verdictNumber(v deleter.Verdict) verdict { return verdict(slices.Index(verdicts, v)) }

// setIdle leaves a worker without work.
func (l *modelState) setIdle(i int) {
	l.workers[i] = modelWorker{}
	if int(l.head.by) == i {
		l.head.by = noWorker
	}
	for w := range l.workers {
		if int(l.workers[w].head.by) == i && l.workers[w].step != idle {
			l.workers[w].head.by = noWorker
		}
	}
}

// release returns a worker's message, which is delivered again.
func (l *modelState) release(i int) {
	if message := &l.messages[l.workers[i].slot]; message.exists {
		message.waiting = true
	}
	l.setIdle(i)
}

// checkLost checks that an acknowledged request has its result, or its next step, stored.
func (l *modelState) checkLost() {
	if l.finished || l.schedule.exists {
		return
	}
	for _, message := range l.messages {
		if message.exists {
			return
		}
	}
	l.violated = nothingLost
}

func (l *modelState) used(s int) bool {
	for _, h := range l.workers {
		if h.step != idle && int(h.slot) == s {
			return true
		}
	}
	return false
}

func (l *modelState) addMessage(new modelMessage) {
	for s := range l.messages {
		if !l.messages[s].exists && !l.used(s) {
			l.messages[s] = new
			return
		}
	}
	panic("the model needs more slots")
}

// normalize sorts the messages, so that states that differ only in their order are equal.
func (l *modelState) normalize() {
	rank := func(s int) (n int) {
		k := l.messages[s]
		for i, b := range []bool{k.exists, k.waiting, k.due, k.delivered, k.progress.atHead, k.progress.noSeq, k.progress.mayHaveDeleted, k.progress.awaitingRemoval, k.progress.refused} {
			if b {
				n |= 1 << i
			}
		}
		for w, h := range l.workers {
			if h.step != idle && int(h.slot) == s {
				n |= 1 << (9 + w)
			}
		}
		return n
	}
	for s := range l.messages {
		if !l.messages[s].exists && !l.used(s) {
			l.messages[s] = modelMessage{}
		}
	}
	for end := len(l.messages) - 1; end > 0; end-- {
		for s := range end {
			if rank(s) >= rank(s+1) {
				continue
			}
			l.messages[s], l.messages[s+1] = l.messages[s+1], l.messages[s]
			for w := range l.workers {
				switch h := &l.workers[w]; {
				case h.step == idle:
				case int(h.slot) == s:
					h.slot++
				case int(h.slot) == s+1:
					h.slot--
				}
			}
		}
	}
}

// remove lets the API delete the entry because of a call.
func (l *modelState) remove() {
	if l.present {
		l.present, l.removedByUs = false, true
	}
}

// noneActive reports whether no worker can still be working on the request: records
// are stored for much longer than a lease.
func (l *modelState) noneActive() bool {
	for _, h := range l.workers {
		if h.step != idle && !h.stale {
			return false
		}
	}
	return true
}

// expire removes all records. Progress without a sequence is then at the head.
func (l *modelState) expire() {
	l.expiries--
	l.expired, l.uncertain = true, true // the answers to earlier attempts are unknown now
	l.hasRecords, l.foreignHead, l.head = false, false, modelRecord{by: noWorker}
	known := func(r *modelProgress) { r.atHead = r.noSeq }
	known(&l.schedule.progress)
	for s := range l.messages {
		known(&l.messages[s].progress)
	}
	for w := range l.workers {
		h := &l.workers[w]
		known(&h.carried)
		known(&h.current)
		known(&h.next)
		h.expectsForeign, h.headIsCurrent = false, false
	}
}

// stored is the result of an append.
type stored int8

const (
	refusal   stored = iota // the last record is another than the writer expects
	accepted                // the record is the last one
	readAgain               // there was a foreign message; now the writer expects it
)

// append stores a record if follows is at the head, as [ledger.Ledger.Append] does. One
// step is one publish and, if that is refused, the read after it.
func (m *model) append(l *modelState, i int, k modelRecord, follows modelProgress) stored {
	h := &l.workers[i]
	switch {
	case m.noExpectation:
	case l.foreignHead && !h.expectsForeign && (follows.atHead || m.skipsRead):
		h.expectsForeign = true
		return readAgain
	case l.foreignHead && m.skipsRead:
	case !follows.atHead:
		return refusal
	}
	// No other progress is at the head any more.
	l.schedule.progress.atHead = false
	for s := range l.messages {
		l.messages[s].progress.atHead = false
	}
	for w := range l.workers {
		h := &l.workers[w]
		h.carried.atHead, h.current.atHead, h.next.atHead, h.headIsCurrent, h.expectsForeign = false, false, false, false, false
	}
	k.by = int8(i)
	k.progress.atHead, k.progress.noSeq = true, false // it is the last record itself
	l.head, l.hasRecords, l.foreignHead = k, true, false
	if !k.outcome.final() {
		return accepted
	}
	switch {
	case l.finished:
		l.violated = oneFinal
	case outcomes[k.outcome] == events.NotFound && l.removedByUs:
		l.violated = notFoundIsTrue
	case outcomes[k.outcome] == events.Deleted && l.present && !l.pending:
		l.violated = deletedIsTrue
	case outcomes[k.outcome] == events.Failed && !l.forbidden:
		l.violated = refusedIsTrue
	case outcomes[k.outcome] == events.Deleted && l.absent && l.recorded && !l.uncertain:
		l.violated = deletedIsPossible
	}
	l.finished = true
	return accepted
}

func (m *model) receive(l *modelState, i int, slot int8) {
	from := &l.messages[slot]
	from.waiting = false
	known := from.progress
	// initialProgress in receive.go: an attempt whose record is lost may have deleted.
	if lost := from.due || known.noSeq && from.delivered && l.expired; lost && !m.ignoresLoss {
		known.mayHaveDeleted = true
	}
	from.delivered = l.expiries > 0 || l.expired
	l.workers[i] = modelWorker{step: claiming, slot: slot, carried: known}
	if m.ackFirst {
		l.messages[slot].exists = false
		l.checkLost()
	}
}

// claim is claim in claim.go.
func (m *model) claim(l *modelState, i int) {
	h := &l.workers[i]
	if h.stale && !m.noLease {
		l.release(i) // another worker may have the message
		return
	}
	h.current = h.carried
	switch {
	case !l.recorded || m.noAttempts:
		if !h.current.atHead {
			l.readHead(i)
			return
		}
	default:
		switch m.append(l, i, modelRecord{progress: h.current, leased: true}, h.current) {
		case refusal:
			l.readHead(i)
			return
		case readAgain:
			return
		}
		h.current.atHead, h.current.noSeq = true, false
	}
	h.step = claimed
}

func (l *modelState) readHead(i int) {
	h := &l.workers[i]
	h.step, h.head, h.headIsCurrent, h.headIsMissing = readingHead, l.head, true, !l.hasRecords
}

// resolve is resolve in claim.go. The schedule is read after the last record, so the two
// may be of different moments.
func (m *model) resolve(l *modelState, i int, now time.Time) {
	h := &l.workers[i]
	last := &ledger.Record{Seq: headSeq, StoredAt: noon, Outcome: outcomes[h.head.outcome], Instance: fmt.Sprint(h.head.by), Progress: h.head.progress.progress()}
	last.Progress.Seq = last.Seq
	if h.head.leased {
		last.Lease = time.Second
	}
	if h.headIsMissing {
		last = nil
	}
	if m.noLease {
		now = noon.Add(time.Hour)
	}
	action, _, next := ledger.Resolve(h.carried.progress(), "", last, l.schedule.exists, fmt.Sprint(i), now)
	if m.noUnanswered {
		next.MayHaveDeleted = false
	}
	if h.headIsMissing && m.ignoresLoss {
		next.MayHaveDeleted = h.carried.mayHaveDeleted
	}
	to := progressOf(next, h.carried.atHead)
	if next.Seq == headSeq || h.headIsMissing {
		to.atHead = h.headIsCurrent
	}
	h.head, h.headIsCurrent, h.headIsMissing = modelRecord{}, false, false
	switch action {
	case ledger.Acknowledge:
		h.step = acking
	case ledger.Reschedule:
		h.next, h.step = to, scheduling
	default:
		h.carried, h.step = to, claiming
	}
}

func (m *model) call(l *modelState, i int) {
	h := &l.workers[i]
	if h.stale && !m.noLease {
		h.carried, h.step = h.current, claiming
		return
	}
	// Without recorded attempts only an existence check keeps two workers apart, and a
	// result may be stored between the check and the call.
	if l.finished && l.recorded {
		l.violated = noCallAfterFinal
	}
	h.step, h.effect, h.accepted = calling, false, l.accepted[i]
}

// postpone is postpone in refused_alone.go. The message is delivered again unchanged.
func (m *model) postpone(l *modelState, i int) {
	h := &l.workers[i]
	h.next, h.step = h.carried, scheduling
	if m.postponesUnscheduled {
		h.step = acking
	}
}

// credential adds the states after a change of the credential, and after a worker sees it
// accepted for another request.
func (m *model) credential(l modelState, then func(func(*modelState))) {
	if !l.forbidden && !l.revocable {
		return
	}
	if l.revocable && l.revoked != restored {
		then(func(l *modelState) { l.revoked++ })
	}
	for i := range l.accepted {
		if l.revoked != revoked && (!l.accepted[i] || l.suspended[i]) {
			then(func(l *modelState) { l.accepted[i], l.suspended[i] = true, false })
		}
	}
}

// releaseClaim is releaseClaim in claim.go: the turn to call did not come.
func (m *model) releaseClaim(l *modelState, i int) {
	l.missedTurns--
	if current := l.workers[i].current; l.recorded && !m.noRelease {
		// A refusal means that another worker has the request.
		if m.append(l, i, modelRecord{progress: current}, current) == readAgain {
			m.append(l, i, modelRecord{progress: current}, current)
		}
	}
	l.release(i)
}

// api adds the states after each outcome of a call in flight.
func (m *model) api(l modelState, i int, then func(func(*modelState))) {
	answer := func(v deleter.Verdict, maybe bool, change func(*modelState)) {
		then(func(l *modelState) {
			change(l)
			l.uncertain = l.uncertain || maybe
			h := &l.workers[i]
			h.step, h.answer, h.mayHaveDeleted = deciding, verdictNumber(v), maybe
		})
	}
	nothing := func(*modelState) {}
	if l.forbidden || l.revoked == revoked {
		answer(deleter.CredentialRefused, false, nothing)
		if !l.workers[i].current.refused { // a 401, or the last of many 403
			answer(deleter.CredentialRefused, false, func(l *modelState) { l.suspended[i] = true })
		}
		return
	}
	switch {
	case !l.recorded: // k-v.ai, which never answers not found
		answer(deleter.Deleted, false, (*modelState).remove)
	case l.present && l.pending:
		answer(deleter.NotFound, false, func(l *modelState) { l.present = false })
	case l.present:
		answer(deleter.Deleted, false, (*modelState).remove)
	default:
		answer(deleter.NotFound, false, nothing)
	}
	if l.failures == 0 {
		return
	}
	answer(deleter.Retry, false, func(l *modelState) { l.failures-- }) // 429
	if !l.revocable {                                                  // the credential is revoked once, not for single calls
		answer(deleter.CredentialRefused, false, func(l *modelState) { l.failures-- }) // 401
	}
	answer(deleter.Retry, true, func(l *modelState) { l.failures--; l.lateCalls++ }) // timed out; it may still take effect
	answer(deleter.Retry, true, func(l *modelState) { l.failures--; l.remove() })    // deleted, but the answer was lost
	if l.recorded && l.present && l.pending {
		answer(deleter.AcceptedPending, false, func(l *modelState) { l.failures-- })
	}
	if l.recorded && l.present && !l.pending {
		answer(deleter.AcceptedPending, false, func(l *modelState) { l.failures--; l.pending, l.removedByUs = true, true })
		answer(deleter.Retry, true, func(l *modelState) { l.failures--; l.pending, l.removedByUs = true, true })
	}
}

var modelRules = Rules{ConfirmAfter: time.Hour, Retry: Policy{InitialInterval: time.Second, Multiplier: 1, MaxInterval: time.Second, MaxElapsed: 1000 * time.Hour}}

// decide is decide in process.go, and picks what is stored first.
func (m *model) decide(l *modelState, i int) {
	h := &l.workers[i]
	var accepted time.Time
	if h.accepted || m.alwaysCounts || m.lateCounts && l.accepted[i] {
		accepted = noon
	}
	step := decide(modelRules, h.current.progress(), deleter.Answer{Verdict: verdicts[h.answer], Status: 1, MayHaveDeleted: h.mayHaveDeleted}, accepted, noon)
	if !step.progress.Refused.IsZero() && step.progress.Refused != refusedAt && !m.staleCounts {
		l.accepted = [workerCount]bool{}
	}
	if m.noUnanswered {
		step.progress.MayHaveDeleted = false
	}
	h.outcome, h.callAgain = outcomeNumber(step.outcome), !step.nextCallAt.IsZero()
	h.next = progressOf(step.progress, h.current.atHead)
	switch {
	case h.outcome != 0:
		h.step = storing
	case !m.noAnswers:
		h.step = storingAnswer
	default:
		h.step = scheduling
	}
}

func (m *model) store(l *modelState, i int) {
	h := &l.workers[i]
	kept := h.next
	if !h.callAgain {
		kept = h.current
	}
	switch m.append(l, i, modelRecord{outcome: h.outcome, progress: kept}, h.current) {
	case refusal:
		m.conflict(l, i)
		return
	case readAgain:
		return
	}
	h.next.atHead, h.next.noSeq, h.step = true, false, acking
	if h.callAgain {
		h.step = scheduling
	}
}

func (m *model) storeAnswer(l *modelState, i int) {
	h := &l.workers[i]
	switch m.append(l, i, modelRecord{progress: h.next}, h.next) {
	case refusal:
		m.conflict(l, i)
		return
	case readAgain:
		return
	}
	h.next.atHead, h.next.noSeq, h.step = true, false, scheduling
}

// conflict is storeConflict in store.go.
func (m *model) conflict(l *modelState, i int) {
	if !l.hasRecords { // the records expired; the answer is stored all the same
		h := &l.workers[i]
		for _, p := range []*modelProgress{&h.current, &h.next} {
			p.atHead, p.noSeq, p.mayHaveDeleted = true, true, true
		}
		return
	}
	if l.head.outcome.final() {
		l.workers[i].step = acking
		return
	}
	l.release(i)
}
