// Package fakeapi imitates the two deletion APIs that Lethe calls, so that a demo, a test, a chaos run or a curious
// person can delete things that do not exist.
//
// Its one idea is that it is stricter than the real servers and keeps its own record. Every request is held against the
// vendors' documents: credential, headers, method, path and body. Answers have exactly the documented shapes. What was
// deleted, by which call, and what the caller was told about it are written down in the order in which they happened, so
// that a test can hold what Lethe says against what really took place.
//
// # Entries
//
// An [Entry] is a k-v.ai user context or a Sensay knowledge-base entry. It exists from the first time that anybody names
// it, unless it was made unknown ([Server.SetEntry], [Config].UnknownShare), and once deleted it stays deleted.
//
//	API     not deleted yet   deleted or unknown   removal begun
//	k-v.ai  200               200                  -
//	Sensay  200 or 202        404                  202
//
// # Trouble
//
// A [Fault] is one way of answering wrongly. Faults come from three places, the first that applies decides: an entry's
// own script ([Server.Script]: "the next three calls that name this entry get 503"), or the chances set for its API
// ([Faults].Chances). Latency, a rate limit and a rejected credential are set for a whole API. Chances are drawn from the
// seed, the entry and how often that entry has been named, so the same seed gives each entry the same rng however
// concurrent calls interleave.
//
// A fault leaves the entry alone unless its name ends in "+after": "cut" closes the connection with nothing deleted,
// "cut+after" deletes and then closes it.
//
// # Control
//
// The same address answers under /_sandbox/ (GET /_sandbox/ is a page of help), with everything that the Go methods can
// do. The control endpoint asks for no credential and shows none: a sandbox belongs on a loopback or private address.
package fakeapi

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server imitates both APIs on one address. It is an [http.Handler], safe for concurrent use.
//
// Its memory is bounded: by [Config].MaxEntries for what has been named, by [Config].MaxCalls for the record, and by a
// limit of 1 MiB for the body of a request.
type Server struct {
	config   Config
	control  http.Handler
	redactor *strings.Replacer
	apis     map[API]*fakeAPI
	done     chan struct{}
	close    sync.Once

	mu    sync.Mutex // guards everything below, and the apis' own state
	calls callLog
}

// New makes a sandbox. A zero field of config stands for its default. New panics if config breaks a rule of
// [Config.Validate]; call that first where the values come from a user.
func New(config Config) *Server {
	if err := config.Validate(); err != nil {
		panic("sandbox: " + err.Error())
	}
	config = config.withDefaults()
	s := &Server{
		config:   config,
		apis:     make(map[API]*fakeAPI),
		done:     make(chan struct{}),
		redactor: strings.NewReplacer(config.AccessKey, "[redacted]", config.OrganizationSecret, "[redacted]"),
		calls:    newCallLog(config.MaxCalls),
	}
	s.apis[KV] = newFakeAPI(KV, &config, kvProtocol{config.AccessKey, config.PydanticV2, config.Wrapped})
	s.apis[Sensay] = newFakeAPI(Sensay, &config, sensayProtocol{config.OrganizationSecret})
	if config.Journal != nil {
		s.calls.last = config.Journal.last
		for _, call := range config.Journal.removals {
			s.apis[call.API].store.remember(call)
		}
		config.Journal.removals = nil
	}
	s.control = s.newControl()
	return s
}

// Close ends every wait: calls that sleep go on at once, calls that hang are cut. Later calls are answered without
// latency. It never fails.
func (s *Server) Close() error {
	s.close.Do(func() { close(s.done) })
	return nil
}

// ServeHTTP answers one request to either API, or to the control endpoint. It cuts a connection by panicking with
// [http.ErrAbortHandler], which net/http expects.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == controlPath || strings.HasPrefix(r.URL.Path, controlPath+"/") {
		s.control.ServeHTTP(w, r)
		return
	}
	fake := s.apis[apiOfPath(r.URL.Path)]
	fake.enter()
	defer fake.leave()

	call := newCall(fake.api, r, s.redact)
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	var req request
	switch {
	case err != nil:
		req = refused(http.StatusBadRequest, "There was an error parsing the body")
	case len(body) > maxBody:
		req = refused(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	default:
		req = fake.protocol.read(r, body)
	}
	call.understand(req)
	s.wait(r.Context(), s.latency(fake, req))
	s.act(fake, req, &call).send(w, r, s.done)
}

// maxBody is the largest request body that is read, in bytes.
const maxBody = 1 << 20

// wait sleeps. A caller who leaves ends the wait but not the call: a real server goes on with what it has begun.
func (s *Server) wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.done:
	}
}

// act is the moment at which a call takes effect. The order is that of a write-ahead log: decide, write the call to the
// journal, delete, and only then answer. A call that cannot be written down deletes nothing and is cut.
func (s *Server) act(fake *fakeAPI, req request, call *Call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	call.Number, call.Time = s.calls.last+1, time.Now().UTC()
	decided := fake.decide(req, callMeta{call.Number, call.Time})
	decided.problem = s.redact(decided.problem)
	call.conclude(decided)
	if err := s.config.Journal.append(call); err != nil {
		s.config.Log.Error("the journal cannot be written; the call is cut", "error", err)
		decided = decision{answer: answer{delivery: deliverCut}, fault: Cut}
		call.conclude(decided)
	}
	fake.store.apply(decided.changes, call)
	fake.stats.count(call)
	s.calls.add(*call)
	s.config.Log.Debug("call", "number", call.Number, "api", call.API, "operation", call.Operation,
		"status", call.Status, "fault", call.Fault, "deleted", len(call.Deleted), "pending", len(call.Pending))
	return decided.answer
}

// latency is how long a call waits before it takes effect.
func (s *Server) latency(fake *fakeAPI, req request) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := fake.faults.Latency
	if fake.faults.Jitter > 0 {
		var k key
		if len(req.keys) > 0 {
			k = req.keys[0]
		}
		fake.jitters++
		wait += time.Duration(fake.store.rng.draw(k, drawLatency, fake.jitters) * float64(fake.faults.Jitter))
	}
	return wait
}

// redact removes both credentials from text that a caller chose.
func (s *Server) redact(text string) string {
	return s.redactor.Replace(text)
}
