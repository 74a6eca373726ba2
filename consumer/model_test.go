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
	workers = 2
	slots   = 6 // messages that are known at the same time
)

// limits bound what may happen in one life, so that there is an end.
type limits struct {
	copies   int8 // of the request, published
	crashes  int8
	stalls   int8 // times that a worker is stopped for longer than lease and ackWait
	troubles int8 // answers of the API that do not end the request
	misses   int8 // calls whose turn does not come
	expiries int8 // times that all records expire while the request is open
	foreign  int8 // messages among its records that no worker wrote
	absent   bool // the entry was never there
	recorded bool // attempts are recorded before the call
	// forbidden: the API refuses this request with 403, and no other. revocable: it
	// may refuse the credential for some time, from when on and until when it likes.
	forbidden, revocable bool
}

// broken are the rules that a variant leaves out.
type broken struct {
	ackFirst, noExpectation, noAttempts, noAnswers, noUnanswered, noLease, noRelease bool
	alwaysCounts, staleCounts, lateCounts, putOffUnscheduled                         bool
	noLoss                                                                           bool // records that are gone count as if there had been none
	waits                                                                            bool // a foreign message is an error, and tried again
	blindPast                                                                        bool // a foreign message is followed without reading the record before it
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
	anEnd
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

func numbered(o events.Outcome) outcome { return outcome(slices.Index(outcomes, o)) }

func (o outcome) final() bool { return o != 0 && outcomes[o].Final() }

// remembered is a [ledger.Progress] as far as it can differ in the model.
type remembered struct {
	unanswered, confirming bool
	refused                bool // the API refused its last call
	fresh                  bool // its Seq is the chain's last link
	none                   bool // its Seq is 0, as far as that matters
}

// The sequences that stand for "the link that was known" and "the link that was
// seen" while the functions under test handle them.
const knownSeq, seenSeq = 7, 9

func (r remembered) history() ledger.Progress {
	h := ledger.Progress{Attempts: 1, FirstAttempt: noon, Seq: knownSeq, MayHaveDeleted: r.unanswered, AwaitingRemoval: r.confirming}
	if r.refused {
		h.Refused, h.RefusedWait = refusedAt, modelRules.Retry.MaxElapsed // if that counts, it is enough
	}
	if r.none {
		h.Seq = 0
	}
	return h
}

// rememberedOf is the reverse, for a history whose Seq is the last link's or not.
func rememberedOf(h ledger.Progress, fresh bool) remembered {
	return remembered{unanswered: h.MayHaveDeleted, confirming: h.AwaitingRemoval, refused: !h.Refused.IsZero(), fresh: fresh, none: h.Seq == 0}
}

// Of the time of a refusal only matters whether another request was accepted since.
var refusedAt = noon.Add(-time.Hour)

// mark is a link of the modelled chain.
type mark struct {
	outcome outcome
	known   remembered
	by      int8 // the worker that wrote it and still works on it, or none
	leased  bool
}

const nobody = -1

// place is where a worker is on its way.
type place int8

const (
	idle place = iota
	claiming
	looking  // the chain is ahead of it; is a next step scheduled?
	claimed  // may call
	calling  // the call is out
	deciding // has its answer
	storing  // the result
	noting   // what came of the attempt of a request that waits
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
type hands struct {
	at    place
	slot  int8
	stale bool // stood still: its lease and its message may be another's
	// known is the history that the next claim follows, current the one with this
	// attempt counted, next what the next step must know.
	known, current, next remembered
	seen                 mark // the last link when it looked
	seenFresh            bool // which still is the last
	seenNone             bool // there was none
	past                 bool // it expects the foreign message that is the last
	answer               verdict
	maybe                bool // the answer may hide a deletion
	effect               bool // the API has acted on the call
	outcome              outcome
	again                bool
	accepted             bool // the credential, for another request since the last refusal, before the call
}

// letter is a message: a request, or what came due.
type letter struct {
	there, waiting bool
	due            bool // it came from a schedule, and knows of no record
	delivered      bool // before, as far as that matters yet
	history        remembered
}

// life is one state. It is a value, and its own key.
type life struct {
	limits
	hands    [workers]hands
	letters  [slots]letter
	linked   bool // the chain is not empty
	stranger bool // a foreign message is its end
	expired  bool // all that waits is older than records are kept
	last     mark
	later    letter // the schedule
	present  bool   // the entry exists
	pending  bool   // its removal was accepted
	ours     bool   // a call of ours removed it
	vague    bool   // the result of some attempt is unknown
	finished bool   // a final result is stored
	orphans  int8   // calls whose caller is gone, which may still take effect
	revoked  revocation
	accepted [workers]bool // the credential, for another request since the last refusal, as the worker knows
	held     [workers]bool // the worker's lane, by a refused credential
	broken   promise
}

// model explores lives.
type model struct {
	broken
	reached map[life]life // and where from
	queue   []life
}

// explore visits every state, and returns the first that breaks a promise; with
// a want, that promise.
func explore(l limits, b broken, want promise) (m *model, bad *life) {
	m = &model{broken: b, reached: map[life]life{}}
	first := life{limits: l, present: !l.absent}
	for i := range l.copies {
		first.letters[i] = letter{there: true, waiting: true, history: remembered{fresh: true, none: l.expiries > 0}}
	}
	first.copies = 0
	first.tidy()
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
			switch to.broken {
			case allKept:
				m.queue = append(m.queue, to)
			default:
				if want == allKept || want == to.broken {
					return m, &to
				}
			}
		}
		if steps == 0 && !from.finished && (want == allKept || want == anEnd) {
			from.broken = anEnd
			return m, &from
		}
	}
	return m, nil
}

// story is the shortest way to a state.
func (m *model) story(l life) string {
	var told []string
	for {
		var b strings.Builder
		for i, h := range l.hands {
			if h.at != idle {
				fmt.Fprintf(&b, "worker %d %+v; ", i, h)
			}
		}
		for _, k := range l.letters {
			if k.there {
				fmt.Fprintf(&b, "letter %+v; ", k)
			}
		}
		fmt.Fprintf(&b, "last %+v, scheduled %v, present %v, ours %v", l.last, l.later.there, l.present, l.ours)
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
func (m *model) successors(l life) (all []life) {
	then := func(change func(*life)) {
		to := l
		change(&to)
		to.tidy()
		all = append(all, to)
	}
	for i := range l.hands {
		m.worker(l, i, then)
		m.fate(l, i, then)
	}
	if l.later.there {
		then(func(l *life) {
			due := letter{there: true, waiting: true, due: l.later.history.none, history: l.later.history}
			l.later = letter{}
			l.put(due)
		})
	}
	m.credential(l, then)
	if l.expiries > 0 && l.linked && !l.finished && l.quiet() {
		then((*life).expire)
	}
	if l.foreign > 0 {
		then(func(l *life) {
			l.foreign--
			l.stranger = true
			for w := range l.hands {
				l.hands[w].past = false
			}
		})
	}
	if l.orphans > 0 {
		then(func(l *life) { l.orphans--; l.remove() })
		then(func(l *life) { l.orphans-- })
	}
	return all
}
