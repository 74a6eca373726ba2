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

// A model of one request as a state machine, small enough to explore completely: two
// workers, one request that may be published twice, an API, and every fault, in every
// order. The model's workers decide with the functions that the lane calls, [decide] and
// [ledger.Resolve]. The model adds the order of their steps, as in process.go, and the
// faults.
//
// Times and sequences are reduced to two questions: whether a lease has expired, and
// whether a step's progress names the head, the last record of the request.

const (
	workerCount  = 2
	messageSlots = 6 // messages that exist at the same time, at most
)

// limits bound what may happen, so that the number of states is finite.
type limits struct {
	copies      int8 // of the request, published
	crashes     int8
	suspensions int8 // times that a worker is stopped for longer than lease and ackWait
	failures    int8 // answers of the API that do not end the request
	missedTurns int8 // claims whose turn to call does not come
	expiries    int8 // times that all records expire while the request is open
	foreign     int8 // messages among its records that no worker wrote
	absent      bool // the entry was never there
	recorded    bool // attempts are recorded before the call
	// forbidden: the API refuses this request with 403, and no other. revocable: it
	// may refuse the credential once, at any time and for any length of time.
	forbidden, revocable bool
}

// brokenRules are the rules that a variant leaves out.
type brokenRules struct {
	ackFirst, noExpectation, noAttempts, noAnswers, noUnanswered, noLease, noRelease bool
	alwaysCounts, staleCounts, lateCounts, postponesUnscheduled                      bool
	ignoresLoss                                                                      bool // expired records count as if there had been none
	waitsForForeign                                                                  bool // a foreign message is an error, and the step is retried
	skipsRead                                                                        bool // a record follows a foreign message without reading the record before it
}

// promise is a guarantee. A state names the one that it violates.
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
		"all are kept", "two final results", "not-found, but Lethe deleted it", "deleted, but it still exists",
		"deleted, but no call can have deleted it", "a call after the final result",
		"acknowledged without a result or a next step", "failed because of a revoked credential", "no step is left, and no final result",
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

// modelProgress is the part of a [ledger.Progress] that can differ in the model.
type modelProgress struct {
	mayHaveDeleted, awaitingRemoval bool
	refused                         bool // the API refused its last call
	atHead                          bool // its Seq is that of the last record
	noSeq                           bool // its Seq is 0; false if records cannot expire
}

// The functions under test get these sequences for the record that a worker's progress
// names, and for the last record that the worker read.
const carriedSeq, headSeq = 7, 9

func (r modelProgress) progress() ledger.Progress {
	h := ledger.Progress{Attempts: 1, FirstAttempt: noon, Seq: carriedSeq, MayHaveDeleted: r.mayHaveDeleted, AwaitingRemoval: r.awaitingRemoval}
	if r.refused {
		h.Refused, h.RefusedWait = refusedAt, modelRules.Retry.MaxElapsed // long enough to fail, if it counts
	}
	if r.noSeq {
		h.Seq = 0
	}
	return h
}

// progressOf is the reverse of progress. atHead: its Seq is that of the last record.
func progressOf(h ledger.Progress, atHead bool) modelProgress {
	return modelProgress{mayHaveDeleted: h.MayHaveDeleted, awaitingRemoval: h.AwaitingRemoval, refused: !h.Refused.IsZero(), atHead: atHead, noSeq: h.Seq == 0}
}

// All refusals have the same time: only whether another request was accepted since matters.
var refusedAt = noon.Add(-time.Hour)

// modelRecord is a record of the request.
type modelRecord struct {
	outcome  outcome
	progress modelProgress
	by       int8 // the worker that wrote it and still works on it, or noWorker
	leased   bool
}

const noWorker = -1

// workerStep is the next step of a worker.
type workerStep int8

const (
	idle workerStep = iota
	claiming
	readingHead   // its claim was refused: it reads the last record and the schedule
	claimed       // it may call
	calling       // its call is in flight
	deciding      // it has the answer
	storing       // it stores the result
	storingAnswer // it stores the answer to the attempt, before a retry is scheduled
	scheduling
	acking
)

// revocation is the state of the credential.
type revocation int8

const (
	unrevoked revocation = iota
	revoked
	restored
)

// modelWorker is one worker.
type modelWorker struct {
	step  workerStep
	slot  int8
	stale bool // it was stopped: another worker may have its lease and its message
	// carried is the progress that the next claim follows, current counts this attempt,
	// next is what the next step gets.
	carried, current, next modelProgress
	head                   modelRecord // the last record when it read
	headIsCurrent          bool        // head is still the last record
	headIsMissing          bool        // there was no record
	expectsForeign         bool        // it expects the foreign message that is the last message
	answer                 verdict
	mayHaveDeleted         bool // the answer may hide a deletion
	effect                 bool // the API has acted on the call
	outcome                outcome
	callAgain              bool
	accepted               bool // before the call, the credential was accepted for another request since the last refusal
}

// modelMessage is a message: a request, or a step that is due.
type modelMessage struct {
	exists, waiting bool
	due             bool // it came from a schedule, and names no record
	delivered       bool // it was delivered before; false if records cannot expire
	progress        modelProgress
}

// modelState is one state. It is a value and a map key.
type modelState struct {
	limits
	workers     [workerCount]modelWorker
	messages    [messageSlots]modelMessage
	hasRecords  bool // the request has records
	foreignHead bool // a foreign message follows them
	expired     bool // every message is older than the age at which records expire
	head        modelRecord
	schedule    modelMessage
	present     bool // the entry exists
	pending     bool // the API accepted its removal
	removedByUs bool // a call of Lethe removed it
	uncertain   bool // the result of some attempt is unknown
	finished    bool // a final result is stored
	lateCalls   int8 // calls that may still take effect although their worker no longer waits
	revoked     revocation
	accepted    [workerCount]bool // the worker saw the credential accepted for another request since the last refusal
	suspended   [workerCount]bool // a refused credential suspends the worker's lane
	violated    promise
}

// model explores the states.
type model struct {
	brokenRules
	reached map[modelState]modelState // each state and its predecessor
	queue   []modelState
}

// explore visits every state and returns the first that violates a promise. Unless want is
// allKept, it looks for violations of that promise only.
func explore(l limits, b brokenRules, want promise) (m *model, bad *modelState) {
	m = &model{brokenRules: b, reached: map[modelState]modelState{}}
	first := modelState{limits: l, present: !l.absent}
	for i := range l.copies {
		first.messages[i] = modelMessage{exists: true, waiting: true, progress: modelProgress{atHead: true, noSeq: l.expiries > 0}}
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

// trace describes the shortest path to a state.
func (m *model) trace(l modelState) string {
	var lines []string
	for {
		var b strings.Builder
		for i, h := range l.workers {
			if h.step != idle {
				fmt.Fprintf(&b, "worker %d %+v; ", i, h)
			}
		}
		for _, k := range l.messages {
			if k.exists {
				fmt.Fprintf(&b, "message %+v; ", k)
			}
		}
		fmt.Fprintf(&b, "last %+v, scheduled %v, present %v, removed by Lethe %v", l.head, l.schedule.exists, l.present, l.removedByUs)
		lines = append(lines, b.String())
		from, ok := m.reached[l]
		if !ok || from == l {
			break
		}
		l = from
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// successors returns all states that one step leads to.
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
