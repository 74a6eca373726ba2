package consumer

import (
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"
)

// refusals are the requests that the API refused last (401 or 403) and whose time for
// retries does not count, because it has accepted no other request since. Only requests
// that this worker called for are known. One is forgotten some time after its next step
// came due: another worker may have taken that step, and the request may have ended.
type refusals struct {
	mu     sync.Mutex
	ids    map[string]time.Time // until when they are not forgotten
	answer string               // what the API answered last to one of them
}

// refusalOverdue is how long after its due time a step may be taken.
const refusalOverdue = time.Minute

// maxRefusals bounds how many ids are kept. More are not distinguished.
const maxRefusals = 1000

// report records when the next step of a request comes due, and what the API answered, if
// its time does not count while it waits. due is zero if its time counts or it does not
// wait.
func (r *refusals) report(id string, due time.Time, answer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !due.IsZero() {
		r.answer = answer
	}
	if len(r.ids) >= maxRefusals {
		r.forget()
	}
	switch {
	case due.IsZero():
		delete(r.ids, id)
	case r.ids == nil:
		r.ids = map[string]time.Time{id: due.Add(refusalOverdue)}
	case len(r.ids) < maxRefusals:
		r.ids[id] = due.Add(refusalOverdue)
	}
}

// forget drops what is overdue, with the lock held.
func (r *refusals) forget() {
	now := time.Now()
	maps.DeleteFunc(r.ids, func(_ string, until time.Time) bool { return !now.Before(until) })
}

// reason describes the requests that wait without their time counting, "" if there are
// none.
func (r *refusals) reason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
	n := len(r.ids)
	if n == 0 {
		return ""
	}
	count := strconv.Itoa(n)
	if n == maxRefusals {
		count += " or more"
	}
	return fmt.Sprintf("requests refused by the API that wait: %s (it answered %s); their time counts once it accepts another request", count, r.answer)
}
