package fakeapi

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// side is one of the two APIs: how it speaks, what it holds, and the trouble it is in. The sandbox's mutex guards it.
type side struct {
	api     API
	dialect dialect
	shelf   shelf
	scripts scripts
	stats   counters

	faults  Faults
	odds    odds
	limiter *rate.Limiter
	jitters uint32

	pendingShare float64
	pendingFor   time.Duration
}

// dialect is what an API's documents say: how a request must look, and how answers look.
type dialect interface {
	// read holds a request against the documents.
	read(r *http.Request, body []byte) request
	// remove gives the true answer to a deletion that is complete at the time gone, and what it changes.
	remove(s *shelf, keys []key, gone time.Time, t ticket) (answer, []change)
	// show gives the true answer to "is it there?".
	show(s *shelf, k key, t ticket) answer
	// refuse gives the API's error shape.
	refuse(why refusal, t ticket) answer
	// lie gives a 200 that says that nothing was done.
	lie(t ticket) answer
}

// ticket is a call's number and the time at which it takes effect.
type ticket struct {
	number uint64
	now    time.Time
}

// request is what a dialect read.
type request struct {
	operation     Operation
	keys          []key
	authenticated bool
	refusal       *refusal // nil for a request that is in order
}

// refusal is why a request is not carried out.
type refusal struct {
	status  int
	message string
	allow   string    // on 405: the methods that the path has
	fields  []problem // k-v.ai, 422: what is wrong with the body
	invalid []int64   // k-v.ai: ids that are refused while others may be deleted
	noRoute bool      // Sensay: the path is not the API's at all
}

// text says why in one line.
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

// decision is what happens to a call.
type decision struct {
	answer  answer
	fault   Fault // None where the answer is true
	problem string
	changes []change
}

func newSide(api API, config *Config, speak dialect) *side {
	d := &side{
		api:     api,
		dialect: speak,
		shelf:   shelf{entries: make(map[key]record), max: config.MaxEntries, luck: luck(config.Seed)},
		scripts: make(scripts),
		stats:   newCounters(),
	}
	if api == Sensay {
		d.shelf.unknownShare = config.UnknownShare
		d.pendingShare = config.PendingShare
	}
	d.pendingFor = config.PendingFor
	for _, entry := range config.Unknown {
		if entry.API == api {
			d.shelf.entries[entry.key()] = record{state: keptUnknown}
		}
	}
	d.setFaults(config.Faults[api])
	return d
}

func (d *side) setFaults(f Faults) {
	d.faults, d.odds, d.limiter = f, newOdds(d.api, f), nil
	if f.Rate > 0 {
		burst := f.Burst
		if burst == 0 {
			burst = int(min(max(1, f.Rate), math.MaxInt32))
		}
		d.limiter = rate.NewLimiter(rate.Limit(f.Rate), burst)
	}
}

// decide says what happens to a call, and what its answer tells of the rate.
func (d *side) decide(req request, t ticket) decision {
	decided := d.judge(req, t)
	if d.limiter != nil && d.faults.RateHeaders {
		calls, window := int(d.faults.Rate), 1
		if calls == 0 {
			calls, window = 1, int(min(math.Ceil(1/d.faults.Rate), math.MaxInt32))
		}
		left := max(int(d.limiter.TokensAt(t.now)), 0)
		decided.answer.ratePolicy = fmt.Sprintf(`"sandbox";q=%d;w=%d`, calls, window)
		decided.answer.rateLimit = fmt.Sprintf(`"sandbox";r=%d;t=%d`, left, window)
	}
	return decided
}

// judge goes through what may happen to a call in the order in which a real server would come to it: its gateway's
// rate limit, the credential, the request's form, and then the deletion and what can go wrong with that.
func (d *side) judge(req request, t ticket) decision {
	if wait := d.overRate(t.now); wait > 0 {
		a := d.dialect.refuse(refusal{status: http.StatusTooManyRequests}, t)
		a.retryAfter = strconv.Itoa(int(math.Ceil(wait.Seconds())))
		return decision{answer: d.outside2xx(a, ""), fault: "429"}
	}
	if d.faults.Reject != 0 {
		a := d.dialect.refuse(refusal{status: d.faults.Reject}, t)
		return decision{answer: d.outside2xx(a, ""), fault: Fault(strconv.Itoa(d.faults.Reject))}
	}
	if req.refusal != nil {
		a := d.dialect.refuse(*req.refusal, t)
		return decision{answer: d.outside2xx(a, ""), fault: None, problem: req.refusal.text()}
	}
	if d.faults.MaxIDs > 0 && len(req.keys) > d.faults.MaxIDs {
		a := d.dialect.refuse(refusal{status: http.StatusRequestEntityTooLarge}, t)
		return decision{answer: d.outside2xx(a, ""), fault: "413"}
	}
	if req.operation == Read {
		return decision{answer: d.dialect.show(&d.shelf, req.keys[0], t), fault: None}
	}
	if !d.shelf.room(req.keys) {
		a := d.dialect.refuse(refusal{status: http.StatusInsufficientStorage, message: errFull.Error()}, t)
		return decision{answer: d.outside2xx(a, ""), fault: None, problem: errFull.Error()}
	}
	return d.remove(req.keys, d.rule(req.keys), t)
}

// overRate uses up one call of the rate, or returns how long to wait for the next.
func (d *side) overRate(now time.Time) time.Duration {
	if d.limiter == nil {
		return 0
	}
	reservation := d.limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// ruling is the fault that a deletion meets.
type ruling struct {
	name       Fault
	fault      fault
	retryAfter string
	refused    []int // positions in the list
	partial    []int
}

// rule asks the scripts, and chance where no entry of the call has a script.
func (d *side) rule(keys []key) ruling {
	r := ruling{name: None, fault: fault{kind: None}}
	scripted := false
	var times uint32
	for i, k := range keys {
		before := d.shelf.named(k)
		if i == 0 {
			times = before
		}
		p, ok := d.scripts.next(k)
		if !ok {
			continue
		}
		scripted = true
		if !r.refuses(i, p.fault) && r.fault.kind == None {
			r.name, r.fault, r.retryAfter = p.Fault, p.fault, p.RetryAfter
		}
	}
	if !scripted && len(d.odds) > 0 {
		name, f := d.odds.at(d.shelf.luck.draw(keys[0], drawFault, times))
		if !r.refuses(0, f) {
			r.name, r.fault = name, f
		}
	}
	return r
}

// refuses notes a fault that concerns one entry alone.
func (r *ruling) refuses(i int, f fault) bool {
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

// remove carries a deletion out under a ruling. A fault of the whole call outweighs refusals of single entries.
func (d *side) remove(keys []key, r ruling, t ticket) decision {
	if r.fault.kind == None && len(r.refused) > 0 {
		why := refusal{status: http.StatusUnprocessableEntity}
		for _, i := range r.refused {
			why.fields = append(why.fields, refusedContext(i, keys[i].id))
		}
		return decision{answer: d.outside2xx(d.dialect.refuse(why, t), ""), fault: Refused}
	}
	if r.fault.kind == None && len(r.partial) > 0 {
		return d.removePartly(keys, r.partial, t)
	}
	gone := t.now
	if r.fault.kind == AcceptPending || d.pendingShare > 0 && d.shelf.luck.draw(keys[0], drawPending, 0) < d.pendingShare {
		gone = gone.Add(d.pendingFor)
	}
	truth, changes := d.dialect.remove(&d.shelf, keys, gone, t)
	if !r.fault.spoils() {
		switch r.fault.kind {
		case Slow:
			truth.manner, truth.slowFor = mannerSlow, d.slowFor()
		case Recycle:
			truth.manner = mannerRecycle
		}
		return decision{answer: truth, fault: r.name, changes: changes}
	}
	if !r.fault.after {
		changes = nil
	}
	return decision{answer: d.outside2xx(d.spoil(truth, r.fault, t), r.retryAfter), fault: r.name, changes: changes}
}

// removePartly deletes all entries but those at the given positions.
func (d *side) removePartly(keys []key, positions []int, t ticket) decision {
	bad := make(map[key]bool)
	why := refusal{status: http.StatusPartialContent}
	for _, i := range positions {
		bad[keys[i]] = true
		why.invalid = append(why.invalid, keys[i].id)
	}
	var good []key
	for _, k := range keys {
		if !bad[k] {
			good = append(good, k)
		}
	}
	if len(good) == 0 {
		why.status = http.StatusBadRequest
	}
	_, changes := d.dialect.remove(&d.shelf, good, t.now, t)
	return decision{answer: d.outside2xx(d.dialect.refuse(why, t), ""), fault: Partial, changes: changes}
}

// outside2xx adds the configured Retry-After header where it belongs.
func (d *side) outside2xx(a answer, scripted string) answer {
	switch {
	case a.status/100 == 2:
	case scripted != "":
		a.retryAfter = scripted
	case d.faults.RetryAfter != "":
		a.retryAfter = d.faults.RetryAfter
	}
	return a
}

func (d *side) slowFor() time.Duration {
	if d.faults.SlowFor == 0 {
		return DefaultSlowFor
	}
	return d.faults.SlowFor
}
