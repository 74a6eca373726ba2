package consumer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/control"
	"github.com/lethe-dev/lethe/internal/limiter"
	"github.com/lethe-dev/lethe/internal/streams"
)

// CallsInFlight reports how many calls the lane makes now.
func (l *Lane) CallsInFlight() int { return l.limiter.InFlight() }

// State reports what the lane does now and, if it is not running, why.
func (l *Lane) State() State {
	pace := l.limiter.Pace()
	s := State{
		Target: l.config.Target, Status: StatusRunning, Requests: l.inflight.size(),
		MaxCalls: pace.Calls, CallsPerSecond: pace.PerSecond, NextCall: pace.NextCall,
	}
	if off := l.off.Load(); off != nil {
		s.MaxCalls, s.CallsPerSecond = 0, 0
		return s.with([]Problem{*off})
	}
	breaker := l.breaker.State()
	if !breaker.Closed {
		s.NextCall = breaker.NextProbe
	}
	problems := slices.Concat(l.controlProblems(), l.unsafe.all(), l.storeProblems(), l.apiProblems(breaker, pace))
	if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Status != StatusRunning }) {
		problems = append(problems, l.delays()...)
	}
	return s.with(l.startTimes.complete(problems))
}

// Totals returns what the worker did in the lane since it started.
func (l *Lane) Totals() Totals {
	t := l.latencies.total()
	t.Results = l.outcomes.total()
	return t
}

// Off marks the lane as not served by this worker, and logs it. Run must not be called. A
// lane that is off although it should run is worth a warning.
func (l *Lane) Off(code Code, reason, fix string) {
	l.off.Store(&Problem{Code: code, Status: StatusOff, Reason: reason, Since: time.Now(), Fix: fix})
	log := l.log.Warn
	if code == CodeNotListed {
		log = l.log.Info
	}
	log("lane is off", "state", string(StatusOff), "reason", reason, "fix", fix, "since", time.Now())
}

// setUnsafe keeps the lane from fetching anything while settings are unsafe.
func (l *Lane) setUnsafe(found []*streams.Problem) {
	l.unsafe.set(found)
	l.breaker.Block(len(found) > 0 || l.otherDomain.Load() != nil)
}

// controlProblems are a pause, or a bucket of pauses that cannot be read.
func (l *Lane) controlProblems() []Problem {
	switch s := l.control.State(); s.Word {
	case control.Paused:
		return []Problem{{CodePaused, StatusPaused, s.Reason, s.Since, s.Fix}}
	case control.Blocked:
		return []Problem{{CodeControlBucket, StatusBlocked, s.Reason, s.Since, s.Fix}}
	}
	return nil
}

// storeProblems are the problems of NATS, other than unsafe settings.
func (l *Lane) storeProblems() (problems []Problem) {
	blocked := func(code Code, reason, fix string, since time.Time) {
		problems = append(problems, Problem{code, StatusBlocked, reason, since, fix})
	}
	if p := l.otherDomain.Load(); p != nil {
		problems = append(problems, *p)
	}
	for _, f := range l.ledger.Failing() {
		blocked(CodeNotStored, "a step cannot be stored: "+f.Reason, f.Fix, f.Since)
	}
	if percent := l.laterUsage.percent.Load(); percent >= streams.LaterFullAt {
		blocked(CodeLaterFull, fmt.Sprintf("stream %s: %d %% full, and a full one drops retries, so no new requests are fetched", events.StreamLater, percent),
			streams.RaiseLimit(events.StreamLater), time.Time{})
	}
	if l.control.State().Word == control.Paused {
		return problems // nothing is fetched, so earlier failures say nothing
	}
	for _, f := range l.pulls.failures() {
		blocked(CodeNotFetched, f.Reason, f.Fix, f.Since)
	}
	return problems
}

// apiProblems are those of the API.
func (l *Lane) apiProblems(breaker limiter.State, pace limiter.Pace) (problems []Problem) {
	vars := l.config.Variables
	answer := breaker.Reason
	if status := strconv.Itoa(breaker.Status); !strings.HasPrefix(answer, status) {
		answer = strings.TrimSpace(status + " " + answer)
	}
	switch {
	case breaker.Suspended && breaker.Status == 0:
		problems = append(problems, Problem{CodeRefused, StatusSuspended, "the credential in " + vars.Credential + " cannot be used: " + breaker.Reason, breaker.Since, vars.credentialFix()})
	case breaker.Suspended:
		problems = append(problems, Problem{CodeRefused, StatusSuspended, "the API refuses the credential in " + vars.Credential + ": " + answer, breaker.Since, vars.credentialFix()})
	case !breaker.Closed && breaker.Status == 0:
		problems = append(problems, Problem{CodeAPIFails, StatusFailing, "the API does not answer: " + breaker.Reason, breaker.Since, vars.apiFix()})
	case !breaker.Closed:
		problems = append(problems, Problem{CodeAPIFails, StatusFailing, "the API fails: it answered " + answer, breaker.Since, vars.apiFix()})
	}
	if !pace.ThrottledSince.IsZero() {
		problems = append(problems, throttled(vars, pace))
	}
	return problems
}

// Retry makes the next probe at once. It is for a credential that has changed.
func (l *Lane) Retry() {
	l.breaker.ProbeNow()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// delays are the problems that make requests wait although the lane runs.
func (l *Lane) delays() (problems []Problem) {
	if reason := l.refusals.reason(); reason != "" {
		problems = append(problems, Problem{Code: CodeRequestsRefused, Status: StatusRunning, Reason: reason,
			Fix: "check that the credential in " + l.config.Variables.Credential + " may delete these resources"})
	}
	if minute, day, slow := l.latencies.slow(time.Now()); slow {
		reason := fmt.Sprintf("calls are slow: the median of the last minute is %s", minute.Round(100*time.Millisecond))
		if day > 0 {
			reason += fmt.Sprintf(", that of the day %s", day.Round(time.Millisecond))
		}
		problems = append(problems, Problem{Code: CodeSlowCalls, Status: StatusRunning, Reason: reason,
			Fix: "check the API, and ask its provider why it is slow; no request is lost, but they wait longer"})
	}
	if oldest := l.inflight.oldest(); !oldest.IsZero() {
		if age := l.clock.now().Sub(oldest); age > oldRequestAge {
			problems = append(problems, Problem{Code: CodeOldRequest, Status: StatusRunning,
				Reason: fmt.Sprintf("the oldest request has waited for %s", age.Round(time.Second)),
				Fix:    "start more workers, or raise " + l.config.Variables.Concurrency + " if the API allows more calls at the same time"})
		}
	}
	return problems
}

// watchState logs changes of the lane's state, and its outcomes, until ctx ends.
func (l *Lane) watchState(ctx context.Context) {
	a := announcer{log: l.log}
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		a.observe(l.State(), time.Now())
		l.outcomes.summarize(time.Now(), false)
		select {
		case <-ctx.Done():
			l.outcomes.summarize(time.Now(), true)
			return
		case <-tick.C:
		}
	}
}
