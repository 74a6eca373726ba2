package fakeapi

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// fakeAPI is one imitated API: its protocol, its entries and its faults. The server's mutex guards it.
type fakeAPI struct {
	api      API
	protocol protocol
	store    store
	scripts  scripts
	stats    counters

	faults     Faults
	faultTable faultTable
	limiter    *rate.Limiter
	jitters    uint32

	pendingShare float64
	pendingFor   time.Duration
}

// protocol is an API's documented form of requests and answers.
type protocol interface {
	// read checks a request strictly against the API's document.
	read(r *http.Request, body []byte) request
	// remove returns the correct answer to a deletion that is complete at the time gone, and its changes.
	remove(s *store, keys []key, gone time.Time, call callMeta) (answer, []change)
	// show returns the correct answer to a read.
	show(s *store, k key, call callMeta) answer
	// refuse returns an error in the API's form.
	refuse(reason refusal, call callMeta) answer
	// lie returns a 200 whose body denies success.
	lie(call callMeta) answer
}

// callMeta is a call's number and the time when it takes effect.
type callMeta struct {
	number uint64
	now    time.Time
}

// request is the result of protocol.read.
type request struct {
	operation     Operation
	keys          []key
	authenticated bool
	refusal       *refusal // nil for a valid request
}

// refusal is why a request is refused.
type refusal struct {
	status  int
	message string
	allow   string    // 405: the methods of the path
	fields  []problem // k-v.ai, 422: the invalid fields
	invalid []int64   // k-v.ai: the refused ids of a list
	noRoute bool      // Sensay: unknown path
}

// text is the reason in one line.
func (r refusal) text() string {
	switch {
	case r.message != "":
		return r.message
	case len(r.fields) > 0:
		return fmt.Sprint(r.fields[0].v1.message, " at ", r.fields[0].loc)
	case http.StatusText(r.status) != "":
		return http.StatusText(r.status)
	}
	return fmt.Sprint("Status ", r.status)
}

func refused(status int, message string) request {
	return request{refusal: &refusal{status: status, message: message}}
}

// decision is the outcome of a call.
type decision struct {
	answer  answer
	fault   Fault // None if the answer is correct
	problem string
	changes []change
}

func newFakeAPI(d definition, config *Config) *fakeAPI {
	fake := &fakeAPI{
		api:      d.api,
		protocol: d.protocol(config),
		store:    store{entries: make(map[key]record), max: config.MaxEntries, rng: rng(config.Seed)},
		scripts:  make(scripts),
		stats:    newCounters(),
	}
	if d.notFound {
		fake.store.unknownShare = config.UnknownShare
	}
	if slices.Contains(d.faults, AcceptPending) {
		fake.pendingShare = config.PendingShare
	}
	fake.pendingFor = config.PendingFor
	for _, entry := range config.Unknown {
		if entry.API == d.api {
			fake.store.entries[entry.key()] = record{state: keptUnknown}
		}
	}
	fake.setFaults(config.Faults[d.api])
	return fake
}

func (fake *fakeAPI) setFaults(f Faults) {
	fake.faults, fake.faultTable, fake.limiter = f, newFaultTable(fake.api, f), nil
	if f.Rate > 0 {
		burst := f.Burst
		if burst == 0 {
			burst = int(min(max(1, f.Rate), math.MaxInt32))
		}
		fake.limiter = rate.NewLimiter(rate.Limit(f.Rate), burst)
	}
}

// decide returns the outcome of a call, with the rate-limit headers.
func (fake *fakeAPI) decide(req request, call callMeta) decision {
	decided := fake.handle(req, call)
	if fake.limiter != nil && fake.faults.RateHeaders {
		calls, window := int(fake.faults.Rate), 1
		if calls == 0 {
			calls, window = 1, int(min(math.Ceil(1/fake.faults.Rate), math.MaxInt32))
		}
		left := max(int(fake.limiter.TokensAt(call.now)), 0)
		decided.answer.ratePolicy = fmt.Sprintf(`"sandbox";q=%d;w=%d`, calls, window)
		decided.answer.rateLimit = fmt.Sprintf(`"sandbox";r=%d;t=%d`, left, window)
	}
	return decided
}

// handle checks a call in the order of a real server: the gateway's rate limit, the credential, the request's form, and
// then the deletion with its faults.
func (fake *fakeAPI) handle(req request, call callMeta) decision {
	if wait := fake.overRate(call.now); wait > 0 {
		a := fake.protocol.refuse(refusal{status: http.StatusTooManyRequests}, call)
		a.retryAfter = strconv.Itoa(int(math.Ceil(wait.Seconds())))
		return decision{answer: fake.outside2xx(a, ""), fault: "429"}
	}
	if fake.faults.Reject != 0 {
		a := fake.protocol.refuse(refusal{status: fake.faults.Reject}, call)
		return decision{answer: fake.outside2xx(a, ""), fault: Fault(strconv.Itoa(fake.faults.Reject))}
	}
	if req.refusal != nil {
		a := fake.protocol.refuse(*req.refusal, call)
		return decision{answer: fake.outside2xx(a, ""), fault: None, problem: req.refusal.text()}
	}
	if fake.faults.MaxIDs > 0 && len(req.keys) > fake.faults.MaxIDs {
		a := fake.protocol.refuse(refusal{status: http.StatusRequestEntityTooLarge}, call)
		return decision{answer: fake.outside2xx(a, ""), fault: "413"}
	}
	if req.operation == Read {
		return decision{answer: fake.protocol.show(&fake.store, req.keys[0], call), fault: None}
	}
	if !fake.store.hasRoom(req.keys) {
		a := fake.protocol.refuse(refusal{status: http.StatusInsufficientStorage, message: errFull.Error()}, call)
		return decision{answer: fake.outside2xx(a, ""), fault: None, problem: errFull.Error()}
	}
	return fake.remove(req.keys, fake.pickFault(req.keys), call)
}

// overRate takes one call from the rate limit, or returns the wait until the next.
func (fake *fakeAPI) overRate(now time.Time) time.Duration {
	if fake.limiter == nil {
		return 0
	}
	reservation := fake.limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// pickedFault is the fault of one deletion.
type pickedFault struct {
	name       Fault
	fault      fault
	retryAfter string
	refused    []int // positions in the call's list
	partial    []int
}

// pickFault takes the fault from the entries' scripts, or at random if no entry has a script.
func (fake *fakeAPI) pickFault(keys []key) pickedFault {
	r := pickedFault{name: None, fault: fault{kind: None}}
	scripted := false
	var times uint32
	for i, k := range keys {
		before := fake.store.countCall(k)
		if i == 0 {
			times = before
		}
		p, ok := fake.scripts.next(k)
		if !ok {
			continue
		}
		scripted = true
		if !r.refuses(i, p.fault) && r.fault.kind == None {
			r.name, r.fault, r.retryAfter = p.Fault, p.fault, p.RetryAfter
		}
	}
	if !scripted && len(fake.faultTable) > 0 {
		name, f := fake.faultTable.pick(fake.store.rng.draw(keys[0], drawFault, times))
		if !r.refuses(0, f) {
			r.name, r.fault = name, f
		}
	}
	return r
}

// refuses records a fault that affects one entry only.
func (r *pickedFault) refuses(i int, f fault) bool {
	switch f.kind {
	case Refused:
		r.refused = append(r.refused, i)
	case Partial:
		r.partial = append(r.partial, i)
	default:
		return false
	}
	return true
}

// remove carries out a deletion with its fault. A fault of the whole call takes precedence over refusals of entries.
func (fake *fakeAPI) remove(keys []key, r pickedFault, call callMeta) decision {
	if r.fault.kind == None && len(r.refused) > 0 {
		reason := refusal{status: http.StatusUnprocessableEntity}
		for _, i := range r.refused {
			reason.fields = append(reason.fields, refusedContext(i, keys[i].id))
		}
		return decision{answer: fake.outside2xx(fake.protocol.refuse(reason, call), ""), fault: Refused}
	}
	if r.fault.kind == None && len(r.partial) > 0 {
		return fake.removePartly(keys, r.partial, call)
	}
	gone := call.now
	if r.fault.kind == AcceptPending || fake.pendingShare > 0 && fake.store.rng.draw(keys[0], drawPending, 0) < fake.pendingShare {
		gone = gone.Add(fake.pendingFor)
	}
	correct, changes := fake.protocol.remove(&fake.store, keys, gone, call)
	if !r.fault.replacesAnswer() {
		switch r.fault.kind {
		case Slow:
			correct.delivery, correct.slowFor = deliverSlow, fake.slowFor()
		case Recycle:
			correct.delivery = deliverRecycle
		}
		return decision{answer: correct, fault: r.name, changes: changes}
	}
	if !r.fault.after {
		changes = nil
	}
	return decision{answer: fake.outside2xx(fake.applyFault(correct, r.fault, call), r.retryAfter), fault: r.name, changes: changes}
}

// removePartly deletes all entries except those at the given positions.
func (fake *fakeAPI) removePartly(keys []key, positions []int, call callMeta) decision {
	bad := make(map[key]bool)
	reason := refusal{status: http.StatusPartialContent}
	for _, i := range positions {
		bad[keys[i]] = true
		reason.invalid = append(reason.invalid, keys[i].id)
	}
	var good []key
	for _, k := range keys {
		if !bad[k] {
			good = append(good, k)
		}
	}
	if len(good) == 0 {
		reason.status = http.StatusBadRequest
	}
	_, changes := fake.protocol.remove(&fake.store, good, call.now, call)
	return decision{answer: fake.outside2xx(fake.protocol.refuse(reason, call), ""), fault: Partial, changes: changes}
}

// outside2xx adds the configured Retry-After header to an answer outside 2xx.
func (fake *fakeAPI) outside2xx(a answer, scripted string) answer {
	switch {
	case a.status/100 == 2:
	case scripted != "":
		a.retryAfter = scripted
	case fake.faults.RetryAfter != "":
		a.retryAfter = fake.faults.RetryAfter
	}
	return a
}

func (fake *fakeAPI) slowFor() time.Duration {
	if fake.faults.SlowFor == 0 {
		return DefaultSlowFor
	}
	return fake.faults.SlowFor
}
