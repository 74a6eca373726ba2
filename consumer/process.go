package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/sabotage"
)

// settlement is what becomes of a delivery after its step.
type settlement string

const (
	// ack: the result or the next scheduled step is stored.
	ack settlement = "ack"
	// giveBack: nothing was done; deliver it again, a little later.
	giveBack settlement = "nak with delay"
	// handBack: this worker stops; deliver it again at once, to another.
	handBack settlement = "nak"
	// letGo: another worker is ahead with the same request and answers for it.
	// Acknowledging would take the message from under it, so nothing is said and
	// the server delivers again after ackWait.
	letGo settlement = "none"
)

// job is the request of one delivery on its way.
type job struct {
	*delivery
	events.Request
	fingerprint string
	history     History
	claimed     bool             // a claim is stored, and no call was made on it
	answered    *events.Evidence // of this delivery's call, nil before it
}

// process makes one step of the request in d. It calls nobody once stop has
// ended, and stores what it learned until ctx ends. An error means that the
// step could not be stored: nothing is lost, the message comes again.
func (l *Lane) process(stop, ctx context.Context, d *delivery) (settlement, error) {
	l.clock.correct(ctx, l.js, l.log)
	if d.due {
		if _, err := strictHistory(d.Header); err != nil {
			// There is no request to answer: those come on another subject.
			l.log.WarnContext(ctx, "dropped a message that no worker wrote", "stream", events.StreamLater, "subject", d.Subject, "sequence", d.seq, "why", err)
			return ack, nil
		}
	}
	if d.invalid != nil {
		return l.refuse(ctx, d)
	}
	l.trace.request(ctx, d.request)
	j := &job{delivery: d, Request: d.request, fingerprint: events.Fingerprint(d.request.Resource)}
	var err error
	if j.history, err = l.startingPoint(ctx, j); err != nil {
		return giveBack, err
	}
	if l.Rate > 0 { // what is answered has no need to wait for a call
		if settled, err := l.follow(ctx, j); settled != "" || err != nil {
			return settled, err
		}
	}
	if settled, err := l.putOff(ctx, j); settled != "" || err != nil {
		return settled, err
	}
	step, settled, err := l.attempt(stop, ctx, j)
	if settled != "" || err != nil {
		return settled, err
	}
	return l.store(ctx, j, step)
}

// startingPoint is the history that the delivery brings along. Only the worker
// publishes on the due subject; what comes from upstream has no history, unless
// a person has asked for a failed request to be tried again.
func (l *Lane) startingPoint(ctx context.Context, j *job) (History, error) {
	told := readHistory(j.Header)
	if j.due {
		// A schedule follows a record. Where that is gone, what it said is unknown;
		// where it is there, it tells more.
		told.Unanswered = told.Unanswered || told.Seq == 0
		return told, nil
	}
	fresh := History{Arrival: j.seq}
	lost, err := l.mayHaveLostRecords(ctx, j.delivery, told.Seq)
	if err != nil {
		return fresh, err
	}
	fresh.Unanswered = lost
	if told.Seq == 0 {
		return fresh, nil
	}
	last, err := l.chain.last(ctx, j.ID)
	if err != nil {
		return fresh, err
	}
	if last != nil && last.Seq == told.Seq && last.Outcome == events.Failed && last.Fingerprint == j.fingerprint {
		replay := last.History
		replay.Alone = replay.single()
		replay.Since, replay.Arrival = time.Time{}, j.seq
		replay.Waits, replay.Elapsed, replay.Undocumented, replay.RefusedWait = 0, 0, 0, 0
		return replay, nil
	}
	return fresh, nil
}

// maxAdoptions bounds how often one delivery follows a chain that moves ahead
// of it, before the message is given back.
const maxAdoptions = 8

// attempt makes the call, together with other requests that wait, once it is sure
// that the request is still to be answered. Where no call is made it returns
// what becomes of the delivery instead.
func (l *Lane) attempt(stop, ctx context.Context, j *job) (Step, settlement, error) {
	known := j.history
	for range maxAdoptions {
		s := l.gatherer.join(ctx, j, j.history.single() || l.breaker.doubts())
		if !l.permit(stop, s) {
			l.leave(s)
			break
		}
		settled, err := l.claim(ctx, s, known)
		if settled != "" || err != nil {
			l.leave(s)
			if settled == letGo {
				err = l.withdraw(ctx, j)
			}
			return Step{}, settled, err
		}
		if !s.alone && j.history.single() { // as it turned out only now
			l.leave(s)
			j.history = j.history.uncounted()
			known = j.history
			continue
		}
		sabotage.At(sabotage.Claimed)
		answered := l.meet(stop, s)
		j.history.Attempts += answered.calls - 1
		if !answered.again {
			j.claimed = false
			l.log.DebugContext(ctx, "answered", "request_id", j.ID, "attempt", j.history.Attempts, "verdict", string(answered.answer.Verdict),
				"status", answered.answer.Status, "message", answered.answer.Message, "call_id", answered.answer.CallID)
			l.trace.answered(ctx, answered.answer)
			if !answered.left {
				evidence := evidenceOf(answered.answer)
				j.answered = &evidence
			}
			sabotage.At(sabotage.Answered)
			return l.decide(j, answered, s.accepted), "", nil
		}
		known = j.history
	}
	return Step{}, giveBack, l.withdraw(ctx, j)
}

// decide is [Decide] for what one of the requests in a call has of its answer.
// before is the last acceptance that was known before that call: one that came
// during the call may be younger than the refusal that the call got.
func (l *Lane) decide(j *job, s share, before acceptance) Step {
	if s.answer.Verdict == deleter.Hold {
		id := j.ID
		l.refused.Store(&id)
	}
	now := l.clock.now()
	if s.left {
		return leftOver(l.Rules, j.history, s.answer, now)
	}
	return Decide(l.Rules, j.history, s.answer, before.of(s.answer.Credential), now)
}

// withdraw stores that nothing came of a claim, because no call was made. The next
// worker would take it for an unanswered attempt, and wait until its lease is over.
func (l *Lane) withdraw(ctx context.Context, j *job) error {
	if !j.claimed {
		return nil
	}
	j.claimed = false
	err := l.record(ctx, j, 0)
	var moved *overtakenError
	if errors.As(err, &moved) {
		return nil // somebody goes on with it
	}
	return err
}

// claim makes sure, before a call, that nobody is ahead: j's history becomes that
// of this attempt, which follows the last link. It returns what becomes of the
// delivery where there is nothing left to call for.
func (l *Lane) claim(ctx context.Context, s *seat, known History) (settlement, error) {
	j := s.job
	for range maxAdoptions {
		ours, begun := j.oursUntil(l.ackWait.get()), time.Now()
		if l.clock.over(ours) {
			j.history = known
			return letGo, nil
		}
		j.history = known.attempt(l.clock.now())
		err := l.own(ctx, j)

		var moved *overtakenError
		switch {
		case errors.As(err, &moved):
			var settled settlement
			j.history, j.claimed = known, false // another record follows a claim
			if known, settled, err = l.overtaken(ctx, j, known, moved.Last); settled != "" || err != nil {
				return settled, err
			}
			continue
		case err != nil:
			return giveBack, err
		}

		// A process that was stopped in between must not call on a lease that
		// may end before the call does, nor for a message that it has no more.
		s.by = earlier(begun.Add(leaseSlack), ours)
		if !l.clock.over(s.by) || sabotage.Without(sabotage.Lease) {
			return "", nil
		}
		known = j.history.uncounted()
	}
	j.history = known
	return giveBack, l.withdraw(ctx, j)
}

// own stores the attempt where the API's answer depends on it; where it does
// not, it looks.
func (l *Lane) own(ctx context.Context, j *job) error {
	if !l.RecordAttempts || sabotage.Without(sabotage.Attempts) {
		return l.chain.follows(ctx, j.ID, j.history)
	}
	err := l.record(ctx, j, l.Timeout+leaseSlack)
	j.claimed = j.claimed || err == nil
	return err
}

func (l *Lane) record(ctx context.Context, j *job, lease time.Duration) (err error) {
	ctx, end := l.trace.publish(ctx, "attempt", events.AttemptSubject(l.Target, j.ID, j.history.Attempts))
	defer func() { end(err) }()
	seq, err := l.chain.attempt(ctx, j.ID, j.fingerprint, j.history, lease)
	if err != nil {
		return err
	}
	j.history.Seq = seq
	return nil
}

// call makes one call for the seats of set. It makes none if the call's turn does
// not come before the right to call is over for one of them. It is broken off when
// the grace period after stop is over.
func (l *Lane) call(stop, ctx context.Context, seats []*seat, set []int) (answer deleter.Answer, made bool) {
	by := seats[set[0]].by
	for _, i := range set {
		by = earlier(by, seats[i].by)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer after(stop, l.callGrace(), cancel)()
	begun, err := l.turn(stop, by)
	if err != nil {
		return answer, false
	}
	if !sabotage.Without(sabotage.Lease) {
		ctx = deleter.StartBy(ctx, by)
	}
	ctx, stopped := context.WithTimeout(ctx, l.Timeout)
	defer stopped()
	accepted := l.breaker.accepted()
	for _, i := range set {
		seats[i].accepted = accepted
		seats[i].room.leave(1)
		defer seats[i].room.comeBack()
	}
	since := l.clock.now()
	answer = l.Deleter.Delete(ctx, together(seats, set))
	answer.Took = time.Since(begun)
	l.pace.learn(begun, answer)
	l.breaker.record(answer, caller{
		shared: len(set) > 1, suspect: len(set) == 1 && seats[set[0]].history.suspect(), since: since,
	})
	l.trace.counted(ctx, answer)
	return answer, true
}

// turn waits for the turn of a call that must begin by a time, and before stop ends.
func (l *Lane) turn(stop context.Context, by time.Time) (begun time.Time, err error) {
	if !sabotage.Without(sabotage.Lease) {
		if l.clock.over(by) {
			return begun, context.DeadlineExceeded
		}
		var cancel context.CancelFunc
		stop, cancel = context.WithDeadline(stop, by)
		defer cancel()
	}
	return l.pace.take(stop)
}

// follow makes j's history that of the chain, if that is ahead. It returns what
// becomes of the delivery if there is nothing left to call for.
func (l *Lane) follow(ctx context.Context, j *job) (settled settlement, err error) {
	err = l.chain.follows(ctx, j.ID, j.history)
	var moved *overtakenError
	switch {
	case errors.As(err, &moved):
		j.history, settled, err = l.overtaken(ctx, j, j.history, moved.Last)
		return settled, err
	case err != nil:
		return giveBack, err
	}
	return "", nil
}

// overtaken follows the chain that is ahead of known. It returns the history to
// go on from, or what becomes of the delivery.
func (l *Lane) overtaken(ctx context.Context, j *job, known History, last *link) (History, settlement, error) {
	standing := false
	if last != nil && !last.Outcome.Final() && last.Fingerprint == j.fingerprint {
		due := uint64(0)
		if j.due {
			due = j.seq
		}
		var err error
		if standing, err = l.later.stands(ctx, j.ID, due, l.clock.now()); err != nil {
			return known, giveBack, err
		}
	}
	now := l.clock.now()
	if sabotage.Without(sabotage.Lease) {
		now = now.Add(time.Hour)
	}
	course, at, next := overtaken(known, j.fingerprint, last, standing, l.Instance, now)
	if sabotage.Without(sabotage.Unanswered) {
		next.Unanswered = false
	}
	switch course {
	case courseDone:
		return next, ack, nil
	case courseReused:
		settled, err := l.answerReuse(ctx, j)
		return next, settled, err
	case courseAgain:
		settled, err := l.schedule(ctx, j, next, at)
		return next, settled, err
	default:
		return next, "", nil
	}
}

// store makes the step durable: its result, then its next message.
func (l *Lane) store(ctx context.Context, j *job, step Step) (settlement, error) {
	next := step.History
	if step.Outcome != "" {
		if step.Again.IsZero() {
			next = j.history
		}
		next.Seq = j.history.Seq
		seq, err := l.publish(ctx, j.ID, j.fingerprint, next, j.result(step))
		if err != nil {
			return l.outrun(ctx, j, step, err)
		}
		next.Seq = seq
		sabotage.At(sabotage.Resulted)
	}
	if step.Again.IsZero() {
		return ack, nil
	}
	if step.Outcome == "" {
		// The chain must know what came of the attempt, and that the request
		// waits: a repeat of it must not take the attempt for an unanswered one,
		// and another request under its id would replace its schedule. The
		// attempt is over and has no lease.
		j.history = next
		if err := l.record(ctx, j, 0); err != nil {
			return l.outrun(ctx, j, step, err)
		}
		next = j.history
	}
	return l.schedule(ctx, j, next, step.Again)
}

// outrun is what becomes of a delivery whose step was refused because another
// one was stored meanwhile. A final result answers the request; anything else
// belongs to a worker that goes on with it.
func (l *Lane) outrun(ctx context.Context, j *job, step Step, err error) (settlement, error) {
	var moved *overtakenError
	switch {
	case !errors.As(err, &moved):
		return giveBack, err
	case moved.Last == nil:
		// The stream was made anew meanwhile. What the API answered must not be
		// lost with it: the next answer would be another one.
		j.history.Seq, step.History.Seq = 0, 0
		return l.store(ctx, j, step)
	case moved.Last.Fingerprint != j.fingerprint && step.Outcome.Final():
		// Another event took the id during the call. What the call did is done,
		// and must be told.
		return l.publishUnder(ctx, []string{events.SequenceID(j.history.Arrival)}, j.fingerprint, j.result(step))
	case moved.Last.Fingerprint != j.fingerprint:
		return l.answerReuse(ctx, j)
	case moved.Last.Outcome.Final():
		return ack, nil
	default:
		return letGo, nil
	}
}

func (l *Lane) publish(ctx context.Context, id, fingerprint string, h History, r events.Result) (seq uint64, err error) {
	ctx, end := l.trace.publish(ctx, "result", events.ResultSubject(l.Target, id, r.Outcome))
	defer func() { end(err) }()
	r.EventID, r.Source, r.Time, r.Target = newID(), "/lethe/"+l.Instance, l.clock.now(), l.Target
	if seq, err = l.chain.result(ctx, id, fingerprint, h, r); err != nil {
		return 0, err
	}
	l.trace.outcome(ctx, r.Outcome)
	l.log.InfoContext(ctx, "result", "request_id", id, "outcome", string(r.Outcome), "attempts", r.Attempts, "sequence", seq)
	return seq, nil
}

func (l *Lane) schedule(ctx context.Context, j *job, h History, at time.Time) (_ settlement, err error) {
	ctx, end := l.trace.publish(ctx, "schedule", events.LaterSubject(l.Target, j.ID))
	defer func() { end(err) }()
	if err = l.later.schedule(ctx, j.ID, j.Msg, h, at); err != nil {
		return giveBack, err
	}
	l.log.DebugContext(ctx, "scheduled", "request_id", j.ID, "at", at, "attempts", h.Attempts)
	sabotage.At(sabotage.Scheduled)
	return ack, nil
}

// result is the event that says what the step found.
func (j *job) result(step Step) events.Result {
	evidence := step.Evidence
	if contexts, ok := j.Resource.(events.UserContexts); ok && step.Error != nil && len(step.Error.IDs) == len(contexts.IDs) {
		step.Error.IDs = nil // ids stand there only where some of the request's were refused
	}
	return events.Result{
		RequestID:     j.ID,
		RequestSource: j.Source,
		Resource:      j.Resource,
		Outcome:       step.Outcome,
		Attempts:      j.history.Attempts,
		Evidence:      &evidence,
		ExpectedBy:    step.ExpectedBy,
		Error:         step.Error,
	}
}
