package consumer

import (
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
