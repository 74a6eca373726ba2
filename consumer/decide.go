package consumer

import (
	"fmt"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

// Rules are what [Decide] goes by.
type Rules struct {
	// Retry says when to try again and when to give up.
	Retry Policy
	// ConfirmAfter is how long after accepted-pending the call is made again to
	// see that the resource is gone.
	ConfirmAfter time.Duration
}

// Step is what happens next with a request. A step with neither part does not
// exist; accepted-pending has both.
type Step struct {
	// Outcome is what to publish, "" for nothing yet.
	Outcome events.Outcome
	// Evidence is what was seen; it goes with an Outcome.
	Evidence events.Evidence
	// ExpectedBy goes with accepted-pending: when removal should be complete.
	ExpectedBy time.Time
	// Error goes with the outcomes invalid and failed.
	Error *events.ResultError

	// Again is when to make the next call, zero for never.
	Again time.Time
	// History is what that call must know.
	History History
}

// Decide turns the answer of an API into the next step of a request. h is the
// request's history with this attempt counted, now the time of the decision. It
// is pure, but for the random spread of Rules.Retry.
func Decide(r Rules, h History, a deleter.Answer, now time.Time) Step {
	switch a.Verdict {
	case deleter.Deleted:
		return finish(events.Deleted, a)

	case deleter.NotFound:
		return decideNotFound(h, a)

	case deleter.AcceptedPending:
		due := now.Add(r.ConfirmAfter)
		if h.Confirming && h.elapsed(now) >= r.Retry.MaxElapsed {
			return exhausted(h, a, now)
		}
		if h.Confirming {
			return Step{Again: due, History: h}
		}
		step := finish(events.AcceptedPending, a)
		step.ExpectedBy = a.ExpectedBy
		step.Again = due
		step.History = h
		step.History.Confirming = true
		step.History.Since = due
		return step

	case deleter.Invalid:
		if h.Confirming {
			return fail(events.CodeUnexpectedAnswer, a, "the API refused the confirmation of a deletion that it had accepted")
		}
		step := finish(events.Invalid, a)
		step.Error = &events.ResultError{Code: events.CodeRejectedByAPI, Message: a.Message, IDs: a.Refused}
		return step

	case deleter.Hold:
		// No request fails for a wrong credential, however long it is wrong: the
		// time that counts begins anew.
		step := Step{Again: now.Add(r.Retry.Delay(h.Attempts, a.RetryAfter)), History: h}
		step.History.Since = time.Time{}
		if a.Status == 0 { // the credential could not even be read
			step.History = step.History.uncounted()
		}
		return step

	case deleter.Retry:
		if a.UnknownStatus {
			return fail(events.CodeUnexpectedAnswer, a, "the API's answer is none that is documented")
		}
		h.Unanswered = h.Unanswered || a.MayHaveDeleted
		at := now.Add(r.Retry.Delay(h.Attempts, a.RetryAfter))
		if h.elapsed(at) > r.Retry.MaxElapsed {
			return exhausted(h, a, now)
		}
		return Step{Again: at, History: h}

	default: // of no Deleter here
		return fail(events.CodeUnexpectedAnswer, a, "the API's answer is none that is documented")
	}
}

// decideNotFound tells our own deletion from one that never was. After an
// attempt that may have deleted, or once the API had accepted the deletion, the
// resource is gone because it was asked for; otherwise it was not there.
func decideNotFound(h History, a deleter.Answer) Step {
	switch {
	case h.Confirming:
		return finish(events.Deleted, a)
	case h.Unanswered:
		step := finish(events.Deleted, a)
		step.Evidence.AfterUnansweredAttempt = true
		return step
	default:
		return finish(events.NotFound, a)
	}
}

// exhausted gives up a request that was tried for as long as is allowed.
func exhausted(h History, a deleter.Answer, now time.Time) Step {
	why := fmt.Sprintf("given up after %d attempts in %s", h.Attempts, h.elapsed(now).Round(time.Millisecond))
	return fail(events.CodeRetriesExhausted, a, why)
}

func finish(o events.Outcome, a deleter.Answer) Step {
	return Step{Outcome: o, Evidence: evidenceOf(a)}
}

func fail(code events.Code, a deleter.Answer, why string) Step {
	step := finish(events.Failed, a)
	if a.Message != "" {
		why += ": " + a.Message
	}
	step.Error = &events.ResultError{Code: code, Message: why}
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
