package consumer

import (
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"
)

// refusals are the requests that the API refused last (401 or 403) and whose time for
// retries did not count, because it accepted no other request since: this worker
// knows those that it called for itself. It forgets one whose next step came due a while
// ago: another worker has that, and the request may have ended.
type refusals struct {
	mu     sync.Mutex
	ids    map[string]time.Time // until when they are not forgotten
	answer string               // what the API answered last to one of them
}

// refusalOverdue is how long after its due time a step may be taken.
const refusalOverdue = time.Minute

// maxRefusals bounds how many ids are kept. More are not distinguished.
const maxRefusals = 1000

// report records when the next step of a request comes due that waits without its time
// being counted, and what the API answered; due is zero if it does not wait so.
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

// reason says that some requests wait uncounted, "" if none does.
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
