package consumer

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/limiter"
	"github.com/lethe-dev/lethe/internal/streams"
)

// Status is the state of a lane in one word, the same in commands, /readyz, the log,
// metrics and the operator's page.
type Status string

const (
	// StatusRunning: requests are fetched as they arrive.
	StatusRunning Status = "running"
	// StatusThrottled: more requests come than the rate of calls allows.
	StatusThrottled Status = "throttled"
	// StatusFailing: the circuit breaker is open, single calls probe the API.
	StatusFailing Status = "failing"
	// StatusSuspended: the API refuses the credential.
	StatusSuspended Status = "suspended"
	// StatusBlocked: NATS keeps the lane from working: a step cannot be stored, a
	// setting is unsafe, or messages cannot be fetched.
	StatusBlocked Status = "blocked"
	// StatusPaused: a person paused the lane.
	StatusPaused Status = "paused"
	// StatusOff: this worker does not serve the lane.
	StatusOff Status = "off"
)

// Statuses returns all seven, from the one that hinders least to the one that
// hinders most. A lane with several problems is in the last of their states.
func Statuses() []Status {
	return []Status{StatusRunning, StatusThrottled, StatusFailing, StatusSuspended, StatusBlocked, StatusPaused, StatusOff}
}

// Code names a kind of problem.
type Code string

// The kinds of problems, each with the state that it puts a lane into.
const (
	CodeNotListed       Code = "not-listed"         // off: not in LETHE_TARGETS
	CodeNoCredential    Code = "no-credential"      // off
	CodePaused          Code = "paused"             // paused
	CodeControlBucket   Code = "control-bucket"     // blocked
	CodeUnsafeSetting   Code = "unsafe-setting"     // blocked
	CodeTwoDomains      Code = "two-domains"        // blocked
	CodeNotStored       Code = "not-stored"         // blocked
	CodeLaterFull       Code = "later-full"         // blocked
	CodeNotFetched      Code = "not-fetched"        // blocked
	CodeRefused         Code = "credential-refused" // suspended
	CodeAPIFails        Code = "api-fails"          // failing
	CodeRateLimit       Code = "rate-limit"         // throttled
	CodeSlowCalls       Code = "slow-calls"         // running
	CodeOldRequest      Code = "old-request"        // running
	CodeRequestsRefused Code = "requests-refused"   // running
)

// Problem is something that hinders a lane, or that an operator should know.
type Problem struct {
	Code   Code      `json:"code"`
	Status Status    `json:"state"`  // that it puts the lane into
	Reason string    `json:"reason"` // what is wrong, in one sentence
	Since  time.Time `json:"since"`
	Fix    string    `json:"fix"` // what to do, in one sentence
}

// String is the problem in one line.
func (p Problem) String() string {
	return fmt.Sprintf("%s since %s: %s; fix: %s", p.Status, p.Since.UTC().Format("2006-01-02 15:04:05 UTC"), p.Reason, p.Fix)
}

// State is a lane's report on itself. Reason, Since and Fix are set in every state
// but running.
type State struct {
	Target events.Target `json:"target"`
	Code   Code          `json:"code,omitempty"`
	Status Status        `json:"state"`
	Reason string        `json:"reason,omitempty"`
	Since  time.Time     `json:"since,omitzero"`
	Fix    string        `json:"fix,omitempty"`
	// Further are the other problems. Those of a running lane are all here.
	Further []Problem `json:"further_problems,omitempty"`
	// NextCall is when a lane that is suspended or failing tries again, or one whose
	// API asked it to wait; zero if unknown.
	NextCall time.Time `json:"next_call,omitzero"`
	// Requests is how many this worker has fetched and not finished.
	Requests int `json:"requests"`
	// MaxCalls is how many calls may run at the same time now, and CallsPerSecond
	// how many may begin, 0 while no limit is known.
	MaxCalls       int     `json:"max_calls"`
	CallsPerSecond float64 `json:"max_calls_per_second"`
}

// Problems returns all problems, that of the state first.
func (s State) Problems() []Problem {
	if s.Status == StatusRunning || s.Status == "" {
		return s.Further
	}
	return append([]Problem{{s.Code, s.Status, s.Reason, s.Since, s.Fix}}, s.Further...)
}

// with returns s with these problems.
func (s State) with(problems []Problem) State {
	rank := func(p Problem) int { return slices.Index(Statuses(), p.Status) }
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(rank(b), rank(a)) })
	if len(problems) > 0 && problems[0].Status != StatusRunning {
		first := problems[0]
		s.Code, s.Status, s.Reason, s.Since, s.Fix = first.Code, first.Status, first.Reason, first.Since, first.Fix
		problems = problems[1:]
	}
	s.Further = problems
	return s
}

// Variables name the settings that a fix can be about.
type Variables struct {
	Credential, BaseURL, Rate, Concurrency string
}

func (v Variables) credentialFix() string {
	if strings.HasSuffix(v.Credential, "_FILE") {
		return "write a valid credential into the file that " + v.Credential + " names; the worker reads it again"
	}
	return "set " + v.Credential + " to a valid credential and restart the worker"
}

func (v Variables) apiFix() string {
	return "check the API, and that " + v.BaseURL + " is its address; the lane resumes by itself when a call succeeds"
}

// throttled says which rate is below the demand, and where it comes from.
func throttled(vars Variables, pace limiter.Pace) Problem {
	p := Problem{Code: CodeRateLimit, Status: StatusThrottled, Since: pace.ThrottledSince}
	switch pace.Source {
	case limiter.Setting:
		p.Reason = fmt.Sprintf("the rate set in %s is below the demand: %s", vars.Rate, perSecond(pace.PerSecond))
		p.Fix = "wait, or raise " + vars.Rate + " if the API allows more"
	case limiter.Granted:
		p.Reason = fmt.Sprintf("the API's rate limit is below the demand: %s, as its RateLimit headers say", perSecond(pace.PerSecond))
		p.Fix = "wait, or ask the API's provider for a higher limit"
	default:
		p.Reason = "the API's rate limit is below the demand: "
		if pace.PerSecond > 0 {
			p.Reason += perSecond(pace.PerSecond) + ", "
		}
		if pace.RefusedAt.IsZero() {
			p.Reason += "its RateLimit headers ask to wait"
		} else {
			p.Reason += fmt.Sprintf("learned from a %d at %s", pace.Refused, pace.RefusedAt.UTC().Format("15:04:05 UTC"))
		}
		p.Fix = "wait, or ask the API's provider for a higher limit; the lane tries higher rates by itself"
	}
	return p
}

// perSecond is a rate in words.
func perSecond(rate float64) string {
	if rate < 1 {
		return "a call every " + (time.Duration(float64(time.Second) / rate)).Round(100*time.Millisecond).String()
	}
	return strconv.FormatFloat(rate, 'f', 1, 64) + " calls a second"
}

// startTimes records when a problem of each kind was first seen, for problems that have
// no recorded start.
type startTimes struct {
	mu sync.Mutex
	at map[Code]time.Time
}

// complete sets the start of problems that have none.
func (s *startTimes) complete(problems []Problem) []Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, at := time.Now(), map[Code]time.Time{}
	for i, p := range problems {
		if !p.Since.IsZero() {
			continue
		}
		since, before := s.at[p.Code]
		if !before {
			since = now
		}
		at[p.Code], problems[i].Since = since, since
	}
	s.at = at
	return problems
}

// unsafeSettings are the settings of streams and consumers that block a lane.
type unsafeSettings struct {
	mu       sync.Mutex
	problems []Problem
}

// set replaces the problems by those of the last check. A setting that was unsafe before
// keeps its start.
func (u *unsafeSettings) set(found []*streams.Problem) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var problems []Problem
	for _, f := range found {
		p := Problem{CodeUnsafeSetting, StatusBlocked, f.Reason(), time.Now(), f.Fix()}
		if i := slices.IndexFunc(u.problems, func(b Problem) bool { return b.Reason == p.Reason }); i >= 0 {
			p.Since = u.problems[i].Since
		}
		problems = append(problems, p)
	}
	u.problems = problems
}

func (u *unsafeSettings) all() []Problem {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.problems)
}
