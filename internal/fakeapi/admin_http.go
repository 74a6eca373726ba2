package fakeapi

import (
	_ "embed"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const adminPath = "/_sandbox"

//go:embed help.txt
var help string

// newAdmin is the admin API. Its answers are JSON, except the help page; its errors are
// {"error":"…"} with status 400, 404 or 413.
func (s *Server) newAdmin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sandbox/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, help)
	})
	mux.HandleFunc("GET /_sandbox/calls", s.serveCalls)
	mux.HandleFunc("DELETE /_sandbox/calls", func(w http.ResponseWriter, _ *http.Request) {
		s.ResetCalls()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /_sandbox/deleted", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Deleted()) })
	mux.HandleFunc("GET /_sandbox/stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Stats()) })

	mux.HandleFunc("GET /_sandbox/faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Faults()) })
	mux.HandleFunc("PUT /_sandbox/faults", s.putFaults)
	mux.HandleFunc("DELETE /_sandbox/faults", func(w http.ResponseWriter, _ *http.Request) {
		for _, api := range APIs() {
			_ = s.SetFaults(api, Faults{}) // no faults are always valid
		}
		reply(w, s.Faults())
	})

	mux.HandleFunc("GET /_sandbox/scripts", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Scripts()) })
	mux.HandleFunc("DELETE /_sandbox/scripts", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearScripts()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /_sandbox/scripts/{entry...}", s.putScript)
	mux.HandleFunc("DELETE /_sandbox/scripts/{entry...}", func(w http.ResponseWriter, r *http.Request) {
		if e, ok := pathEntry(w, r); ok && replyError(w, s.Script(e)) {
			w.WriteHeader(http.StatusNoContent)
		}
	})

	mux.HandleFunc("GET /_sandbox/entries/{entry...}", func(w http.ResponseWriter, r *http.Request) {
		if e, ok := pathEntry(w, r); ok {
			s.replyEntry(w, e)
		}
	})
	mux.HandleFunc("PUT /_sandbox/entries/{entry...}", s.putEntry)
	mux.HandleFunc("/_sandbox/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, errors.New("unknown path: see GET /_sandbox/"))
	})
	return mux
}

// serveCalls takes ?api=, ?entry=, ?after=NUMBER and ?limit=N.
func (s *Server) serveCalls(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var after, limit uint64
	for name, value := range map[string]*uint64{"after": &after, "limit": &limit} {
		if text := query.Get(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				fail(w, http.StatusBadRequest, errors.New(name+" must be a number"))
				return
			}
			*value = n
		}
	}
	api, entry := API(query.Get("api")), query.Get("entry")
	matches := []Call{}
	for _, call := range s.Calls() {
		if call.Number > after && (api == "" || call.API == api) && (entry == "" || call.hasEntry(entry)) {
			matches = append(matches, call)
			if limit > 0 && uint64(len(matches)) == limit {
				break
			}
		}
	}
	reply(w, matches)
}

func (c *Call) hasEntry(entry string) bool {
	for _, e := range c.Entries {
		if e.String() == entry {
			return true
		}
	}
	return false
}

func (s *Server) putFaults(w http.ResponseWriter, r *http.Request) {
	var all map[API]Faults
	if !readAdmin(w, r, &all) {
		return
	}
	for api, f := range all { // validate all before setting any
		if !api.known() {
			fail(w, http.StatusBadRequest, errors.New("unknown API "+strconv.Quote(bounded(string(api)))))
			return
		}
		if !replyError(w, f.Validate(api)) {
			return
		}
	}
	for api, f := range all {
		_ = s.SetFaults(api, f) // validated above
	}
	reply(w, s.Faults())
}

func (s *Server) putScript(w http.ResponseWriter, r *http.Request) {
	var steps []Step
	if e, ok := pathEntry(w, r); ok && readAdmin(w, r, &steps) && replyError(w, s.Script(e, steps...)) {
		reply(w, steps)
	}
}

// entryState is the body with the state of an entry.
type entryState struct {
	State State `json:"state"`
}

func (s *Server) putEntry(w http.ResponseWriter, r *http.Request) {
	var body entryState
	if e, ok := pathEntry(w, r); ok && readAdmin(w, r, &body) && replyError(w, s.SetEntry(e, body.State)) {
		s.replyEntry(w, e)
	}
}

func (s *Server) replyEntry(w http.ResponseWriter, e Entry) {
	if state, err := s.Entry(e); replyError(w, err) {
		reply(w, entryState{state})
	}
}

func pathEntry(w http.ResponseWriter, r *http.Request) (Entry, bool) {
	e, err := ParseEntry(r.PathValue("entry"))
	return e, replyError(w, err)
}

// durations encodes a time.Duration as "250ms".
var durations = json.JoinOptions(
	json.WithMarshalers(json.MarshalToFunc(func(e *jsontext.Encoder, d time.Duration) error {
		return e.WriteToken(jsontext.String(d.String()))
	})),
	json.WithUnmarshalers(json.UnmarshalFunc(func(data []byte, d *time.Duration) (err error) {
		text, err := strconv.Unquote(string(data))
		if err == nil {
			*d, err = time.ParseDuration(text)
		}
		if err != nil {
			return errors.New(`a duration has the form "250ms"`)
		}
		return nil
	})),
)

func readAdmin(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, errors.New("the body is unreadable or larger than 1 MiB"))
		return false
	}
	return replyError(w, json.Unmarshal(body, into, durations, json.RejectUnknownMembers(true)))
}

// replyError answers 400 if there is an error, and reports whether there is none.
func replyError(w http.ResponseWriter, err error) bool {
	if err != nil {
		fail(w, http.StatusBadRequest, err)
	}
	return err == nil
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(mustJSON(map[string]string{"error": err.Error()}), '\n'))
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.MarshalWrite(w, v, durations, json.Deterministic(true)); err == nil {
		_, _ = io.WriteString(w, "\n")
	}
}
