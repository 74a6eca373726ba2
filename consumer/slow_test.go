package consumer

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-dev/lethe/deleter"
)

// calls makes calls of the duration each, one after the other, for the time total.
func (l *latencies) calls(each, total time.Duration) {
	for begun := time.Now(); time.Since(begun) < total; {
		call := l.begin(time.Now())
		time.Sleep(each)
		l.end(call, time.Now(), true)
	}
}

func TestSlowCallsAreFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		calls func(*latencies)
		slow  bool
	}{
		"no call":                      {func(*latencies) {}, false},
		"an API that was always slow":  {func(l *latencies) { l.calls(20*time.Second, time.Minute) }, true},
		"a call under ten seconds":     {func(l *latencies) { l.calls(9*time.Second, time.Minute) }, false},
		"slow today, quick before":     {func(l *latencies) { l.calls(time.Second, time.Hour); l.calls(20*time.Second, time.Minute) }, true},
		"slow for hours, quick before": {func(l *latencies) { l.calls(time.Second, 3*time.Hour); l.calls(20*time.Second, 4*time.Hour) }, true},
		"no slower than all day":       {func(l *latencies) { l.calls(5*time.Second, 2*time.Hour); l.calls(20*time.Second, time.Minute) }, false},
		"slow some time ago":           {func(l *latencies) { l.calls(20*time.Second, time.Minute); time.Sleep(2 * time.Minute) }, false},
		"no answer at all":             {func(l *latencies) { l.begin(time.Now()); time.Sleep(30 * time.Second) }, true},
		"yesterday's calls": {func(l *latencies) {
			l.calls(20*time.Second, time.Hour)
			time.Sleep(26 * time.Hour)
			l.calls(time.Second, time.Minute)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLatencies()
				c.calls(l)
				if minute, day, slow := l.slow(time.Now()); slow != c.slow {
					t.Errorf("slow: %v, the minute's median is %s, the day's %s", slow, minute, day)
				}
			})
		})
	}
}

func TestARefusalDoesNotCountAsALatency(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer deleter.Answer
		want   bool
	}{
		{deleter.Answer{Status: 200}, true},
		{deleter.Answer{Status: 404}, true},
		{deleter.Answer{Status: http.StatusTooManyRequests}, false},
		{deleter.Answer{Status: 503}, false},
		{deleter.Answer{Duration: time.Second}, false},
		{deleter.Answer{Duration: time.Minute}, true},
	} {
		if got := informative(c.answer, time.Minute); got != c.want {
			t.Errorf("%+v: %v", c.answer, got)
		}
	}
}

// The API is slow, so requests wait although the lane runs.
func TestALaneReportsSlowCallsAndOldRequestsWhileItRuns(t *testing.T) {
	env := newEnvironment(t)
	lane := New(env.js, env.config(sensayTarget, answering(answerDeleted)))
	if p := lane.State().Problems(); len(p) > 0 {
		t.Errorf("at the start: %+v", p)
	}
	lane.latencies.begin(time.Now().Add(-time.Minute))
	lane.inflight.add(&delivery{storedAt: time.Now().Add(-2 * oldRequestAge)})
	s := lane.State()
	if s.Status != StatusRunning || len(s.Further) != 2 || s.Further[0].Code != CodeSlowCalls || s.Further[1].Code != CodeOldRequest {
		t.Fatalf("%+v", s)
	}
	for _, p := range s.Problems() {
		if p.Since.IsZero() || p.Fix == "" || !strings.Contains(p.Reason, "s") {
			t.Errorf("%+v", p)
		}
	}
	lane.setUnsafe(nil)
	lane.laterUsage.percent.Store(80)
	if s := lane.State(); s.Status != StatusBlocked || len(s.Further) > 0 {
		t.Errorf("a blocked lane reports more than why it is blocked: %+v", s)
	}
}
