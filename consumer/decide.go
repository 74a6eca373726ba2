package consumer

import (
	"fmt"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/limiter"
)

// Policy is how long a request waits between its attempts, and when it fails.
type Policy = limiter.Policy

// Rules are the delays and limits by which a lane decides on the next step.
type Rules struct {
	// Retry says when to try again and when to give up.
	Retry Policy
	// ConfirmAfter is how long after accepted-pending the call is made again to
	// see that the resource is gone.
	ConfirmAfter time.Duration
}

// nextStep is what happens next with a request. A step with neither part does not
// exist; accepted-pending has both.
type nextStep struct {
	// outcome is what to publish, "" for nothing yet.
	outcome events.Outcome
	// evidence is what was seen; it goes with an outcome.
	evidence events.Evidence
	// expectedBy goes with accepted-pending: when removal should be complete.
	expectedBy time.Time
	// resultError goes with the outcomes invalid and failed.
	resultError *events.ResultError

	// nextCallAt is when to make the next call, zero for never.
	nextCallAt time.Time
	// progress is what that call must know.
	progress ledger.Progress
}

// decide turns the answer of an API into the next step of a request. p is the request's
// progress with this attempt counted, accepted the time of the last call in which the API
// accepted the answer's credential (zero if this worker knows of none), now the time of
// the decision. It is pure, except for the random spread of Rules.Retry.
func decide(r Rules, p ledger.Progress, a deleter.Answer, accepted, now time.Time) nextStep {
	if a.Verdict != deleter.CredentialRefused && a.Verdict != deleter.Retry { // the credential is accepted
		p.Refused, p.RefusedWait = time.Time{}, 0
	}
	switch a.Verdict {
	case deleter.Deleted:
		return finalStep(events.Deleted, a)

	case deleter.NotFound:
		return decideNotFound(p, a)

	case deleter.AcceptedPending:
		due := now.Add(r.ConfirmAfter)
		if p.AwaitingRemoval && p.Elapsed >= r.Retry.MaxElapsed {
			return exhausted(p, a)
		}
		if p.AwaitingRemoval {
			return nextStep{nextCallAt: due, progress: p.WithRetry(0, r.ConfirmAfter)}
		}
		step := finalStep(events.AcceptedPending, a)
		step.expectedBy = a.ExpectedBy
		step.nextCallAt = due
		step.progress = p
		step.progress.AwaitingRemoval = true
		step.progress.FirstAttempt = due
		step.progress.Elapsed, step.progress.Undocumented = 0, 0
		return step

	case deleter.Invalid:
		if p.AwaitingRemoval {
			return failedStep(events.CodeUnexpectedAnswer, a, "the API refused the confirmation of a deletion that it had accepted")
		}
		step := finalStep(events.Invalid, a)
		step.resultError = &events.ResultError{Code: events.CodeRejectedByAPI, Message: a.Message, IDs: a.Refused}
		return step

	case deleter.CredentialRefused:
		return decideRefused(r, p, a, accepted, now)

	case deleter.Retry:
		return decideRetry(r, p, a, now)

	default: // of no Deleter here
		return failedStep(events.CodeUnexpectedAnswer, a, "the API's answer is not documented")
	}
}

// decideRetry waits for the next call, or gives up once the time for retries is over.
func decideRetry(r Rules, p ledger.Progress, a deleter.Answer, now time.Time) nextStep {
	p.MayHaveDeleted = p.MayHaveDeleted || a.MayHaveDeleted
	wait := r.Retry.Delay(p.Waits+1, a.RetryAfter)
	next := p.WithRetry(a.Duration, wait)
	if a.Requests <= 1 && (a.Divisible() || a.UnknownStatus) {
		next.Undocumented = ledger.Sum(p.Undocumented, a.Duration, wait)
	}
	step := nextStep{nextCallAt: now.Add(wait), progress: next}
	if a.UnknownStatus {
		// It may mean a removed endpoint or an unpaid bill, so it ends a request only if
		// it was the answer to that request's own calls.
		step.progress.Alone = true
		if next.Undocumented > r.Retry.MaxElapsed {
			return failedStep(events.CodeUnexpectedAnswer, a, attemptsText(p, ledger.Sum(p.Undocumented, a.Duration))+", the status is not documented")
		}
		return step
	}
	if next.Elapsed > r.Retry.MaxElapsed {
		p.Elapsed = ledger.Sum(p.Elapsed, a.Duration)
		return exhausted(p, a)
	}
	return step
}

// decideRefused waits until the credential is accepted. A request that is refused while
// the same credential is accepted for others is refused alone, and its time counts. While
// nothing is accepted, the credential may be the reason, and no request fails because of
// it.
func decideRefused(r Rules, p ledger.Progress, a deleter.Answer, accepted, now time.Time) nextStep {
	wait := r.Retry.Delay(p.Waits+1, a.RetryAfter)
	step := nextStep{nextCallAt: now.Add(wait)}
	switch {
	case a.Status == 0: // the credential could not even be read
		step.progress = p.WithoutLastAttempt()
		step.progress.Waits++
		return step
	case a.Requests > 1: // one of the others may be the reason
		p.Alone = true
		p.Waits++
		step.progress = p
		return step
	}
	if counts := !p.Refused.IsZero() && accepted.After(p.Refused); counts {
		p.Elapsed = ledger.Sum(p.Elapsed, p.RefusedWait)
		if p.Elapsed >= r.Retry.MaxElapsed {
			return failedStep(events.CodeRefusedByAPI, a, attemptsText(p, p.Elapsed)+", in which the API accepted the same credential for other requests")
		}
	}
	p.Refused, p.RefusedWait = now, ledger.Sum(a.Duration, wait)
	p.Waits++
	step.progress = p
	return step
}

// decideUnanswered is the next step of a request that shared a call, and for which the
// API gave no answer of its own. It will be called for alone, and no time counts.
func decideUnanswered(r Rules, p ledger.Progress, a deleter.Answer, now time.Time) nextStep {
	wait := r.Retry.Delay(p.Waits+1, a.RetryAfter)
	p.Alone = true
	p.Waits++
	return nextStep{nextCallAt: now.Add(wait), progress: p}
}

// decideNotFound distinguishes our own deletion from a resource that never existed. After an
// attempt that may have deleted, or once the API had accepted the deletion, the
// resource is gone because it was asked for; otherwise it was not there.
func decideNotFound(p ledger.Progress, a deleter.Answer) nextStep {
	switch {
	case p.AwaitingRemoval:
		return finalStep(events.Deleted, a)
	case p.MayHaveDeleted:
		step := finalStep(events.Deleted, a)
		step.evidence.AfterUnansweredAttempt = true
		return step
	default:
		return finalStep(events.NotFound, a)
	}
}

// exhausted fails a request that was tried for the longest allowed time.
func exhausted(p ledger.Progress, a deleter.Answer) nextStep {
	return failedStep(events.CodeRetriesExhausted, a, attemptsText(p, p.Elapsed))
}

// attemptsText says how long a request was tried, and whether the API had accepted its
// deletion: the resource may be gone.
func attemptsText(p ledger.Progress, elapsed time.Duration) string {
	plural := "s"
	if p.Attempts == 1 {
		plural = ""
	}
	text := fmt.Sprintf("given up after %d attempt%s in %s", p.Attempts, plural, elapsed.Round(time.Millisecond))
	if p.AwaitingRemoval {
		text += " without a confirmation of the deletion that the API had accepted"
	}
	return text
}

func finalStep(o events.Outcome, a deleter.Answer) nextStep {
	return nextStep{outcome: o, evidence: evidenceOf(a)}
}

func failedStep(code events.Code, a deleter.Answer, reason string) nextStep {
	step := finalStep(events.Failed, a)
	if a.Message != "" {
		reason += ": " + a.Message
	}
	step.resultError = &events.ResultError{Code: code, Message: reason}
	return step
}

func evidenceOf(a deleter.Answer) events.Evidence {
	return events.Evidence{
		Status:       a.Status,
		Message:      a.Message,
		APIRequestID: a.APIRequestID,
		ObservedAt:   a.ObservedAt,
		CallID:       a.CallID,
		CallRequests: max(a.Requests, 1),
	}
}
