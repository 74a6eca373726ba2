package consumer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// The life of one request as a state machine, small enough to be explored to
// its end: two workers, one request that may be published twice, an API, and
// everything that may befall them, in every order. What a worker decides is
// decided by the functions that the lane calls, [decide] and [ledger.Resolve]; what
// is here is the order of its steps, as in process.go, and the world's.
//
// Times and sequences are reduced to what is asked of them: whether a lease is
// over, and whether a history knows the chain's last link.

const (
	workerCount  = 2
	messageSlots = 6 // messages that are known at the same time
)

// limits bound what may happen in one life, so that there is an end.
type limits struct {
	copies      int8 // of the request, published
	crashes     int8
	suspensions int8 // times that a worker is stopped for longer than lease and ackWait
	failures    int8 // answers of the API that do not end the request
	missedTurns int8 // calls whose turn does not come
	expiries    int8 // times that all records expire while the request is open
	foreign     int8 // messages among its records that no worker wrote
	absent      bool // the entry was never there
	recorded    bool // attempts are recorded before the call
	// forbidden: the API refuses this request with 403, and no other. revocable: it
	// may refuse the credential for some time, from when on and until when it likes.
	forbidden, revocable bool
}

// broken are the rules that a variant leaves out.
type brokenRules struct {
	ackFirst, noExpectation, noAttempts, noAnswers, noUnanswered, noLease, noRelease bool
	alwaysCounts, staleCounts, lateCounts, postponesUnscheduled                      bool
	ignoresLoss                                                                      bool // records that are gone count as if there had been none
	waitsForForeign                                                                  bool // a foreign message is an error, and tried again
	skipsRead                                                                        bool // a foreign message is followed without reading the record before it
}

// The promises, as a state that broke one names it.
type promise int8

const (
	allKept promise = iota
	oneFinal
	notFoundIsTrue
	deletedIsTrue
	deletedIsPossible
	noCallAfterFinal
	nothingLost
	refusedIsTrue
	terminates
)

func (p promise) String() string {
	return [...]string{
		"all are kept", "two final results", "not-found, and it was us", "deleted, and it is still there",
		"deleted, and nobody can have deleted it", "a call after the final result",
		"acknowledged without a result or a next step", "failed for a credential that was revoked", "at rest without a final result",
	}[p]
}

// Outcomes and verdicts are numbers here, so that a state is small.
var (
	outcomes = []events.Outcome{"", events.Deleted, events.AcceptedPending, events.NotFound, events.Invalid, events.Failed}
	verdicts = []deleter.Verdict{deleter.Deleted, deleter.NotFound, deleter.AcceptedPending, deleter.Retry, deleter.CredentialRefused}
)

type (
	outcome int8
	verdict int8
)

func outcomeNumber(o events.Outcome) outcome { return outcome(slices.Index(outcomes, o)) }

func (o outcome) final() bool { return o != 0 && outcomes[o].Final() }

// remembered is a [ledger.Progress] as far as it can differ in the model.
type modelProgress struct {
	mayHaveDeleted, awaitingRemoval bool
	refused                         bool // the API refused its last call
	current                         bool // its Seq is the chain's last link
	noSeq                           bool // its Seq is 0, as far as that matters
}

// The sequences that stand for "the link that was known" and "the link that was
// seen" while the functions under test handle them.
const carriedSeq, headSeq = 7, 9

func (r modelProgress) progress() ledger.Progress {
	h := ledger.Progress{Attempts: 1, FirstAttempt: noon, Seq: carriedSeq, MayHaveDeleted: r.mayHaveDeleted, AwaitingRemoval: r.awaitingRemoval}
	if r.refused {
		h.Refused, h.RefusedWait = refusedAt, modelRules.Retry.MaxElapsed // if that counts, it is enough
	}
	if r.noSeq {
		h.Seq = 0
	}
	return h
}

// rememberedOf is the reverse, for a history whose Seq is the last link's or not.
func progressOf(h ledger.Progress, fresh bool) modelProgress {
	return modelProgress{mayHaveDeleted: h.MayHaveDeleted, awaitingRemoval: h.AwaitingRemoval, refused: !h.Refused.IsZero(), current: fresh, noSeq: h.Seq == 0}
}

// Of the time of a refusal only matters whether another request was accepted since.
var refusedAt = noon.Add(-time.Hour)

// mark is a link of the modelled chain.
type modelRecord struct {
	outcome  outcome
	progress modelProgress
	by       int8 // the worker that wrote it and still works on it, or none
	leased   bool
}

const noWorker = -1

// place is where a worker is on its way.
type workerStep int8

const (
	idle workerStep = iota
	claiming
	readingHead   // the chain is ahead of it; is a next step scheduled?
	claimed       // may call
	calling       // the call is out
	deciding      // has its answer
	storing       // the result
	storingAnswer // what came of the attempt of a request that waits
	scheduling
	acking
)

// revocation is what has become of the credential.
type revocation int8

const (
	unrevoked revocation = iota
	revoked
	restored
)

// hands is one worker.
type modelWorker struct {
	step  workerStep
	slot  int8
	stale bool // stood still: its lease and its message may be another's
	// known is the history that the next claim follows, current the one with this
	// attempt counted, next what the next step must know.
	carried, current, next modelProgress
	head                   modelRecord // the last link when it looked
	headIsCurrent          bool        // which still is the last
	headIsMissing          bool        // there was none
	expectsForeign         bool        // it expects the foreign message that is the last
	answer                 verdict
	mayHaveDeleted         bool // the answer may hide a deletion
	effect                 bool // the API has acted on the call
	outcome                outcome
	callAgain              bool
	accepted               bool // the credential, for another request since the last refusal, before the call
}

// letter is a message: a request, or what came due.
type modelMessage struct {
	exists, waiting bool
	due             bool // it came from a schedule, and knows of no record
	delivered       bool // before, as far as that matters yet
	progress        modelProgress
}

// life is one state. It is a value, and its own key.
type modelState struct {
	limits
	workers     [workerCount]modelWorker
	messages    [messageSlots]modelMessage
	hasRecords  bool // the chain is not empty
	foreignHead bool // a foreign message is its end
	expired     bool // all that waits is older than records are kept
	head        modelRecord
	schedule    modelMessage // the schedule
	present     bool         // the entry exists
	pending     bool         // its removal was accepted
	removedByUs bool         // a call of ours removed it
	uncertain   bool         // the result of some attempt is unknown
	finished    bool         // a final result is stored
	lateCalls   int8         // calls whose caller is gone, which may still take effect
	revoked     revocation
	accepted    [workerCount]bool // the credential, for another request since the last refusal, as the worker knows
	suspended   [workerCount]bool // the worker's lane, by a refused credential
	violated    promise
}

// model explores lives.
type model struct {
	brokenRules
	reached map[modelState]modelState // and where from
	queue   []modelState
}

// explore visits every state, and returns the first that breaks a promise; with
// a want, that promise.
func explore(l limits, b brokenRules, want promise) (m *model, bad *modelState) {
	m = &model{brokenRules: b, reached: map[modelState]modelState{}}
	first := modelState{limits: l, present: !l.absent}
	for i := range l.copies {
		first.messages[i] = modelMessage{exists: true, waiting: true, progress: modelProgress{current: true, noSeq: l.expiries > 0}}
	}
	first.copies = 0
	first.normalize()
	m.reached[first] = first
	m.queue = append(m.queue, first)
	for len(m.queue) > 0 {
		from := m.queue[0]
		m.queue = m.queue[1:]
		steps := 0
		for _, to := range m.successors(from) {
			steps++
			if _, known := m.reached[to]; known {
				continue
			}
			m.reached[to] = from
			switch to.violated {
			case allKept:
				m.queue = append(m.queue, to)
			default:
				if want == allKept || want == to.violated {
					return m, &to
				}
			}
		}
		if steps == 0 && !from.finished && (want == allKept || want == terminates) {
			from.violated = terminates
			return m, &from
		}
	}
	return m, nil
}

// story is the shortest way to a state.
func (m *model) trace(l modelState) string {
	var told []string
	for {
		var b strings.Builder
		for i, h := range l.workers {
			if h.step != idle {
				fmt.Fprintf(&b, "worker %d %+v; ", i, h)
			}
		}
		for _, k := range l.messages {
			if k.exists {
				fmt.Fprintf(&b, "letter %+v; ", k)
			}
		}
		fmt.Fprintf(&b, "last %+v, scheduled %v, present %v, ours %v", l.head, l.schedule.exists, l.present, l.removedByUs)
		told = append(told, b.String())
		from, ok := m.reached[l]
		if !ok || from == l {
			break
		}
		l = from
	}
	slices.Reverse(told)
	return strings.Join(told, "\n")
}

// successors are all states that one step leads to.
func (m *model) successors(l modelState) (all []modelState) {
	then := func(change func(*modelState)) {
		to := l
		change(&to)
		to.normalize()
		all = append(all, to)
	}
	for i := range l.workers {
		m.worker(l, i, then)
		m.faults(l, i, then)
	}
	if l.schedule.exists {
		then(func(l *modelState) {
			due := modelMessage{exists: true, waiting: true, due: l.schedule.progress.noSeq, progress: l.schedule.progress}
			l.schedule = modelMessage{}
			l.addMessage(due)
		})
	}
	m.credential(l, then)
	if l.expiries > 0 && l.hasRecords && !l.finished && l.noneActive() {
		then((*modelState).expire)
	}
	if l.foreign > 0 {
		then(func(l *modelState) {
			l.foreign--
			l.foreignHead = true
			for w := range l.workers {
				l.workers[w].expectsForeign = false
			}
		})
	}
	if l.lateCalls > 0 {
		then(func(l *modelState) { l.lateCalls--; l.remove() })
		then(func(l *modelState) { l.lateCalls-- })
	}
	return all
}
