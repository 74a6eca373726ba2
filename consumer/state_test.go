package consumer

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/limiter"
	"github.com/lethe-dev/lethe/internal/streams"
)

var testVariables = Variables{Credential: "LETHE_KV_ACCESS_KEY", BaseURL: "LETHE_KV_BASE_URL", Rate: "LETHE_KV_RATE", Concurrency: "LETHE_KV_CONCURRENCY"}

// Each state but running has a reason, a start and a fix.
func TestEachStateHasAReasonAStartAndAFix(t *testing.T) {
	env := newEnvironment(t)
	for name, c := range map[string]struct {
		cause  func(*Lane)
		state  Status
		reason string
		fix    string
	}{
		"nothing wrong": {func(*Lane) {}, StatusRunning, "", ""},
		"no credential": {func(l *Lane) { l.Off(CodeNoCredential, "no credential", "set LETHE_KV_ACCESS_KEY") }, StatusOff, "no credential", "set LETHE_KV_ACCESS_KEY"},
		"an unsafe setting": {func(l *Lane) {
			l.setUnsafe([]*streams.Problem{{Stream: events.StreamResults, Setting: "storage memory", Why: "memory does not survive a restart; it must be file"}})
		}, StatusBlocked, "stream DELETION_RESULTS: storage memory: memory does not survive a restart", "stream DELETION_RESULTS: it must be file"},
		"a full stream of retries": {func(l *Lane) { l.laterUsage.percent.Store(80) }, StatusBlocked, "DELETION_LATER: 80 % full", streams.RaiseLimit(events.StreamLater)},
		"a refused credential": {func(l *Lane) {
			l.breaker.Record(answerUnauthorized, limiter.Call{})
		}, StatusSuspended, "refuses the credential in LETHE_KV_ACCESS_KEY: 401 who are you", "set LETHE_KV_ACCESS_KEY"},
		"an API that fails":           {func(l *Lane) { failUntilOpen(l, 503) }, StatusFailing, "it answered 503 broken", "LETHE_KV_BASE_URL"},
		"an API that does not answer": {func(l *Lane) { failUntilOpen(l, 0) }, StatusFailing, "does not answer: broken", "LETHE_KV_BASE_URL"},
		"a rate limit": {func(l *Lane) {
			begun, _ := l.limiter.Wait(t.Context(), time.Time{})
			l.limiter.Learn(begun, deleter.Answer{Verdict: deleter.Retry, Status: 429, RetryAfter: time.Hour})
		}, StatusThrottled, "learned from a 429 at", "ask the API's provider"},
	} {
		t.Run(name, func(t *testing.T) {
			config := env.config(kvTarget, answering(answerDeleted))
			config.Variables = testVariables
			config.Rules.Retry.MaxInterval = time.Hour
			lane := New(env.js, config)
			c.cause(lane)
			s := lane.State()
			if s.Status != c.state || !strings.Contains(s.Reason, c.reason) || !strings.Contains(s.Fix, c.fix) {
				t.Errorf("%+v", s)
			}
			if s.Status != StatusRunning && (s.Since.IsZero() || time.Since(s.Since) > time.Minute || s.Reason == "" || s.Fix == "") {
				t.Errorf("something is missing: %+v", s)
			}
			if first := lane.State(); !first.Since.Equal(s.Since) {
				t.Errorf("since %s, and a moment later since %s", s.Since, first.Since)
			}
		})
	}
}

func TestALaneCallsNothingWhileASettingIsUnsafe(t *testing.T) {
	env := newEnvironment(t)
	lane := New(env.js, env.config(kvTarget, answering(answerDeleted)))
	for _, unsafe := range [][]*streams.Problem{{{Stream: events.StreamResults, Setting: "no_ack", Why: "unset it"}}, nil} {
		lane.setUnsafe(unsafe)
		if _, allowed := lane.breaker.Allow(false); allowed != (unsafe == nil) {
			t.Errorf("with %d unsafe settings calls are allowed: %v", len(unsafe), allowed)
		}
	}
}

// failUntilOpen records failures of the API until the breaker is open.
func failUntilOpen(l *Lane, status int) {
	for range failuresToOpen {
		l.breaker.Record(deleter.Answer{Verdict: deleter.Retry, Status: status, Message: "broken"}, limiter.Call{})
	}
}

func TestAllProblemsAreListedAndTheWorstGivesTheState(t *testing.T) {
	env := newEnvironment(t)
	lane := New(env.js, env.config(kvTarget, answering(answerDeleted)))
	failUntilOpen(lane, 503)
	lane.laterUsage.percent.Store(80)
	lane.setUnsafe([]*streams.Problem{{Stream: events.StreamResults, Setting: "no_ack", Why: "unset it"}, {Stream: events.StreamRequests, Setting: "mirror", Why: "remove it"}})
	s := lane.State()
	var codes []string
	for _, p := range s.Problems() {
		codes = append(codes, string(p.Code))
	}
	if got := strings.Join(codes, " "); s.Status != StatusBlocked || got != "unsafe-setting unsafe-setting later-full api-fails" {
		t.Errorf("%s: %s", s.Status, got)
	}
	lane.setUnsafe(nil)
	lane.laterUsage.percent.Store(0)
	if s := lane.State(); s.Status != StatusFailing || len(s.Further) > 0 {
		t.Errorf("%+v", s)
	}
}

func TestChangesOfAStateAreLoggedOnceAMinuteAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := captured()
		a := announcer{log: log}
		running := State{Status: StatusRunning}
		failing := State{Status: StatusFailing, Code: CodeAPIFails, Reason: "the API fails", Fix: "wait"}
		see := func(states ...State) {
			for _, s := range states {
				a.observe(s, time.Now())
				time.Sleep(announceEvery)
			}
		}
		see(running, running)
		if got := lines(); len(got) != 0 {
			t.Errorf("without a change: %q", got)
		}
		see(failing)
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "lane is failing") || !strings.Contains(got[0], "the API fails") || strings.Contains(got[0], "changes_not_logged") {
			t.Errorf("the first change: %q", got)
		}
		for range 29 {
			see(running, failing)
		}
		see(failing, failing, running)
		if got := lines(); len(got) != 2 || !strings.Contains(got[1], "changes_not_logged=57") {
			t.Errorf("a state that comes and goes: %q", got)
		}
		time.Sleep(announceGap)
		see(running)
		if got := lines(); len(got) != 3 || !strings.Contains(got[2], "running again") {
			t.Errorf("in the end: %q", got)
		}
		time.Sleep(announceGap)
		slow := running
		slow.Further = []Problem{{Code: CodeSlowCalls, Status: StatusRunning, Reason: "calls are slow", Fix: "check the API"}}
		see(slow, slow)
		if got := lines(); len(got) != 4 || !strings.Contains(got[3], "calls are slow; fix: check the API") {
			t.Errorf("a problem of a lane that runs: %q", got)
		}
		suspended := State{Status: StatusSuspended, Code: CodeRefused, Reason: "the API refuses the credential", Fix: "set another"}
		see(suspended, slow, suspended)
		if got := lines(); len(got) != 5 || !strings.Contains(got[4], "the API refuses the credential") {
			t.Errorf("another problem within the minute: %q", got)
		}
	})
}

// countingWriter counts what is written.
type countingWriter struct{ bytes, lines int }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.bytes += len(p)
	w.lines++
	return len(p), nil
}

// Two lanes store 5,000 results a second for a minute, with the longest texts.
func TestTheLogStaysSmallAtFiveThousandResultsASecond(t *testing.T) {
	long := strings.Repeat("x", 4096)
	for name, c := range map[string]func(i int) *ledger.Pending{
		"all deleted": func(int) *ledger.Pending { return &ledger.Pending{Outcome: events.Deleted} },
		"all failed": func(int) *ledger.Pending {
			return &ledger.Pending{Outcome: events.Failed, Source: long, Error: &events.ResultError{Code: events.CodeRetriesExhausted, Message: long}}
		},
		"failed and invalid": func(i int) *ledger.Pending {
			return &ledger.Pending{Outcome: []events.Outcome{events.Failed, events.Invalid}[i%2], Source: long, Error: &events.ResultError{Code: events.CodeUnexpectedAnswer, Message: long}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var written countingWriter
				log := slog.New(slog.NewJSONHandler(&written, nil))
				limits := NewLogLimits()
				lanes := []*outcomeLog{newOutcomeLog(log.With("target", "kv-user-context"), limits), newOutcomeLog(log.With("target", "sensay-knowledge-base"), limits)}
				const seconds = 60
				for range seconds {
					for i := range 5000 {
						r := c(i)
						r.ID = ledger.NewID()
						lanes[i/2%2].stored(t.Context(), r)
					}
					time.Sleep(time.Second)
					for _, l := range lanes {
						l.summarize(time.Now(), false)
					}
				}
				if perSecond := written.bytes / seconds; perSecond > 10_000 {
					t.Errorf("%d bytes a second", perSecond)
				}
				if written.lines < 4 {
					t.Errorf("%d lines: no summary", written.lines)
				}
			})
		})
	}
}

func TestFailedAndInvalidResultsAreLoggedWithTheirReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := captured()
		o := newOutcomeLog(log, nil)
		for i := range 12 {
			o.stored(t.Context(), &ledger.Pending{ID: fmt.Sprint("r-", i), Outcome: events.Failed, Source: "/crm", Error: &events.ResultError{Code: events.CodeRefusedByAPI, Message: "403 no"}})
		}
		o.stored(t.Context(), &ledger.Pending{ID: "good", Outcome: events.Deleted})
		time.Sleep(time.Second)
		o.summarize(time.Now(), true)
		o.summarize(time.Now(), true)
		warned := 0
		for _, line := range lines() {
			if strings.Contains(line, "level=WARN") {
				warned++
				for _, part := range []string{"request_id=r-", "code=refused-by-api", `message="403 no"`, "source=/crm"} {
					if !strings.Contains(line, part) {
						t.Errorf("%s is missing in %s", part, line)
					}
				}
			}
		}
		last := lines()[len(lines())-1]
		if warned != failedPerSecond || !strings.Contains(last, "level=INFO msg=results") || !strings.Contains(last, "failed=12") || !strings.Contains(last, "deleted=1") || !strings.Contains(last, "failed_or_invalid_not_logged=2") {
			t.Errorf("%d warnings, and at the end %s", warned, last)
		}
	})
}
