package consumer

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Another worker may have finished a request whose next step was due long ago.
func TestARefusedRequestIsReportedUntilItsNextStepIsOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refusals
		r.report("one", time.Now().Add(time.Hour), "403 Forbidden")
		r.report("two", time.Now().Add(2*time.Hour), "401 Unauthorized")
		if got, want := r.reason(), "requests refused by the API that wait: 2 (it answered 401 Unauthorized); their time counts once it accepts another request"; got != want {
			t.Errorf("%q", got)
		}
		time.Sleep(time.Hour)
		if got, want := r.reason(), "requests refused by the API that wait: 2 (it answered 401 Unauthorized); their time counts once it accepts another request"; got != want {
			t.Errorf("when one is due: %q", got)
		}
		time.Sleep(refusalOverdue)
		if got, want := r.reason(), "requests refused by the API that wait: 1 (it answered 401 Unauthorized); their time counts once it accepts another request"; got != want {
			t.Errorf("when one is overdue: %q", got)
		}
		r.report("two", time.Time{}, "")
		if got := r.reason(); got != "" {
			t.Errorf("when the other has an answer: %q", got)
		}
	})
}

// More refused requests than are kept change nothing but their count, and make room again.
func TestTheNumberOfRefusedRequestsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refusals
		r.report("answered", time.Time{}, "")
		for i := range maxRefusals - 1 {
			r.report(strconv.Itoa(i), time.Now().Add(time.Hour), "403")
		}
		if got := r.reason(); !strings.Contains(got, ": 999 (") {
			t.Errorf("one less than the limit: %q", got)
		}
		for i := range 2 {
			r.report("more"+strconv.Itoa(i), time.Now().Add(2*time.Hour), "403")
			if got := r.reason(); len(r.ids) != maxRefusals || !strings.Contains(got, ": 1000 or more (") {
				t.Errorf("%d are kept: %q", len(r.ids), got)
			}
		}
		r.report("0", time.Time{}, "")
		if got := r.reason(); !strings.Contains(got, ": 999 (it answered 403)") {
			t.Errorf("after an answer: %q", got)
		}
		r.report("1001", time.Now().Add(time.Hour), "403")
		time.Sleep(time.Hour + refusalOverdue)
		r.report("late", time.Now().Add(time.Hour), "401")
		if _, kept := r.ids["late"]; !kept || len(r.ids) != 2 {
			t.Errorf("once the others are overdue %d are kept", len(r.ids))
		}
	})
}
