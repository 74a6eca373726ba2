// Package fakeapi imitates the deletion APIs that Lethe calls, for the demo, tests and manual trials. Nothing real is
// deleted.
//
// It is stricter than the real servers and keeps its own log. It checks credential, headers, method, path and body of
// every request against the vendors' documents. Answers have exactly the documented forms. It logs what each call
// deleted and what it answered, in the order of events, so that a test can compare Lethe's results with it.
//
// # Entries
//
// An [Entry] is a k-v.ai user context or a Sensay knowledge-base entry. It exists from its first mention, unless it was
// set to unknown ([Server.SetEntry], [Config].UnknownShare). A deleted entry stays deleted.
//
//	API     not deleted yet   deleted or unknown   removal begun
//	k-v.ai  200               200                  -
//	Sensay  200 or 202        404                  202
//
// # Faults
//
// A [Fault] is one kind of wrong answer. It comes from the entry's script ([Server.Script]: "the next three calls that
// name this entry get 503"), or else from the random shares of the API ([Faults].Chances). Latency, a rate limit and
// the rejection of credentials are set for a whole API. Random numbers depend on the seed, the entry and the number of
// earlier calls for it, so the same seed repeats the same faults, whatever the order of concurrent calls.
//
// A fault prevents the deletion unless its name ends in "+after": "cut" closes the connection without deleting,
// "cut+after" deletes first.
//
// # Admin API
//
// The same address serves the admin API under /_sandbox/ (GET /_sandbox/ is its help page), which does what the Go
// methods do. It needs no credential and shows none, so keep the address private.
//
// # Adding an API
//
// An API is one file that implements protocol and registers a definition, such as sensay.go.
package fakeapi

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server imitates all APIs on one address. It is an [http.Handler], safe for concurrent use.
//
// Its memory is limited by [Config].MaxEntries, [Config].MaxCalls and 1 MiB for the body of a request.
type Server struct {
	config   Config
	admin    http.Handler
	redactor *strings.Replacer
	apis     map[API]*fakeAPI
	done     chan struct{}
	close    sync.Once

	mu    sync.Mutex // guards everything below, and the apis' own state
	calls callLog
}

// New returns a server. Zero fields of config get their defaults. New panics if [Config.Validate] fails, so validate
// a user's values first.
func New(config Config) *Server {
	if err := config.Validate(); err != nil {
		panic("fakeapi: " + err.Error())
	}
	config = config.withDefaults()
	s := &Server{
		config: config,
		apis:   make(map[API]*fakeAPI),
		done:   make(chan struct{}),
		calls:  newCallLog(config.MaxCalls),
	}
	var redacted []string
	for _, d := range definitions {
		s.apis[d.api] = newFakeAPI(d, &config)
		redacted = append(redacted, d.credential(&config), "[redacted]")
	}
	s.redactor = strings.NewReplacer(redacted...)
	if config.Journal != nil {
		s.calls.last = config.Journal.last
		for _, call := range config.Journal.removals {
			s.apis[call.API].store.restore(call)
		}
		config.Journal.removals = nil
	}
	s.admin = s.newAdmin()
	return s
}

// Close ends every wait: waiting calls continue at once, hanging calls are cut. Later calls have no latency. It never
// fails.
func (s *Server) Close() error {
	s.close.Do(func() { close(s.done) })
	return nil
}

// ServeHTTP answers one request to an API or the admin API. To cut a connection it panics with
// [http.ErrAbortHandler], which net/http expects.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == adminPath || strings.HasPrefix(r.URL.Path, adminPath+"/") {
		s.admin.ServeHTTP(w, r)
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
	call.setRequest(req)
	s.wait(r.Context(), s.latency(fake, req))
	s.act(fake, req, &call).send(w, r, s.done)
}

// maxBody is the largest request body that is read, in bytes.
const maxBody = 1 << 20

// wait waits. A client's disconnect ends the wait but not the call: a real server completes a call that it has begun.
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

// act lets a call take effect. The order is that of a write-ahead log: decide, write the call to the journal, delete,
// then answer. If the journal cannot be written, the call deletes nothing and is cut.
func (s *Server) act(fake *fakeAPI, req request, call *Call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	call.Number, call.Time = s.calls.last+1, time.Now().UTC()
	decided := fake.decide(req, callMeta{call.Number, call.Time})
	decided.problem = s.redact(decided.problem)
	call.setDecision(decided)
	if err := s.config.Journal.append(call); err != nil {
		s.config.Log.Error("write to the journal failed, call cut", "error", err)
		decided = decision{answer: answer{delivery: deliverCut}, fault: Cut}
		call.setDecision(decided)
	}
	fake.store.apply(decided.changes, call)
	fake.stats.count(call)
	s.calls.add(*call)
	s.config.Log.Debug("call", "number", call.Number, "api", call.API, "operation", call.Operation,
		"status", call.Status, "fault", call.Fault, "deleted", len(call.Deleted), "pending", len(call.Pending))
	return decided.answer
}

// latency is the wait of a call before it takes effect.
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

// redact removes all credentials from a client's text.
func (s *Server) redact(text string) string {
	return s.redactor.Replace(text)
}
