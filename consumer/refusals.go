package consumer

import (
	"fmt"
	"sync"
)

// refusals are the requests that the API refused last (401 or 403) and whose time for
// retries did not count, because it accepted no other request since: this worker
// knows those that it called for itself.
type refusals struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

// maxRefusals bounds how many ids are kept. More are not distinguished.
const maxRefusals = 1000

// report records whether a request waits now without its time being counted.
func (r *refusals) report(id string, uncounted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !uncounted:
		delete(r.ids, id)
	case r.ids == nil:
		r.ids = map[string]struct{}{id: {}}
	case len(r.ids) < maxRefusals:
		r.ids[id] = struct{}{}
	}
}

// reason says that some requests wait uncounted, "" if none does.
func (r *refusals) reason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch n := len(r.ids); n {
	case 0:
		return ""
	case maxRefusals:
		return fmt.Sprintf("%d or more requests were refused by the API and wait; their time counts once it accepts another request", n)
	default:
		return fmt.Sprintf("requests refused by the API that wait: %d; their time counts once it accepts another request", n)
	}
}
