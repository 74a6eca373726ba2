package fakeapi

import (
	"mime"
	"net/http"
	"time"
)

// KV is api.k-v.ai: user contexts.
const KV API = "kv"

func init() {
	register(definition{
		api:        KV,
		protocol:   func(c *Config) protocol { return kvProtocol{c.AccessKey, c.PydanticV2, c.Wrapped} },
		credential: func(c *Config) string { return c.AccessKey },
		variable:   "LETHE_KV_ACCESS_KEY",
		batches:    true,
		faults:     []Fault{Refused, Partial},
	})
}

// kvProtocol imitates k-v.ai, which is built on FastAPI. Its document covers the call, the 200 and the 422 of a missing
// field. 401, 206 and 500 are documented for a sibling call. The rest is FastAPI's default.
type kvProtocol struct {
	accessKey  string
	pydanticV2 bool
	wrapped    bool
}

const (
	kvDeletePath = "/api/user_context/delete"
	kvReadPath   = "/api/user_context/get_context_data"
)

// kvAnswer is the body of all answers except the framework's own.
type kvAnswer struct {
	Data    any    `json:"data"`
	Message string `json:"message"`
}

// kvDetail is the body of the framework's own answers.
type kvDetail struct {
	Detail any `json:"detail"`
}

func (v kvProtocol) read(r *http.Request, body []byte) request {
	var method string
	var op Operation
	switch r.URL.Path {
	case kvDeletePath:
		method, op = http.MethodDelete, Delete
	case kvReadPath:
		method, op = http.MethodGet, Read
	default:
		return refused(http.StatusNotFound, "Not Found")
	}
	if r.Method != method {
		req := refused(http.StatusMethodNotAllowed, "Method Not Allowed")
		req.refusal.allow = method
		return req
	}
	req := request{operation: op, authenticated: hasSecret(r.Header, "access-key", v.accessKey)}
	if !req.authenticated {
		req.refusal = &refusal{status: http.StatusUnauthorized}
		return req
	}
	var ids []int64
	var problems []problem
	if op == Read {
		ids, problems = readContextID(r.URL.Query())
	} else if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		problems = []problem{notObject([]any{"body"}, nil)} // FastAPI then gets bytes, not an object
	} else {
		ids, problems = readIDs(body)
	}
	if len(problems) > 0 {
		req.refusal = &refusal{status: http.StatusUnprocessableEntity, fields: problems}
		return req
	}
	for _, id := range ids {
		req.keys = append(req.keys, key{id: id})
	}
	return req
}

func (v kvProtocol) remove(s *store, keys []key, gone time.Time, call callMeta) (answer, []change) {
	var changes []change
	seen := make(map[key]bool, len(keys))
	for _, k := range keys {
		if !seen[k] && s.state(k, call.now) == StatePresent {
			changes = append(changes, change{k, gone})
		}
		seen[k] = true
	}
	return v.answer(http.StatusOK, struct{}{}, "Data deleted successfully"), changes
}

func (v kvProtocol) show(s *store, k key, call callMeta) answer {
	if state := s.state(k, call.now); state != StatePresent && state != StatePending {
		return v.answer(http.StatusNotFound, struct{}{}, "Context not found")
	}
	data := struct {
		ID     int64  `json:"id"`
		Status string `json:"status"`
	}{k.id, "active"}
	return v.answer(http.StatusOK, data, "Data retrieved successfully")
}

func (v kvProtocol) refuse(reason refusal, _ callMeta) answer {
	message := reason.text()
	var a answer
	switch {
	case reason.invalid != nil && reason.status == http.StatusPartialContent:
		a = v.answer(reason.status, invalidContexts{reason.invalid}, "Some contexts are invalid; the others were deleted")
	case reason.invalid != nil:
		a = v.answer(reason.status, invalidContexts{reason.invalid}, "All contexts are invalid")
	case reason.fields != nil:
		a = answer{status: reason.status, body: mustJSON(kvDetail{renderProblems(reason.fields, v.pydanticV2)})}
	case reason.status == http.StatusUnauthorized:
		a = v.answer(reason.status, struct{}{}, "Invalid or missing access key")
	case reason.status >= 500:
		a = v.answer(reason.status, struct{}{}, message)
	case reason.status == http.StatusNoContent || reason.status == http.StatusNotModified:
		a = answer{status: reason.status}
	default:
		a = answer{status: reason.status, body: mustJSON(kvDetail{message})}
	}
	a.allow = reason.allow
	return a
}

func (v kvProtocol) lie(callMeta) answer {
	return answer{status: http.StatusOK, body: []byte(`{"success":false,"error":"Something went wrong"}`)}
}

// invalidContexts lists the ids that were not deleted, in the form of the sibling call's invalid_docs.
type invalidContexts struct {
	IDs []int64 `json:"invalid_contexts"`
}

func (v kvProtocol) answer(status int, data any, message string) answer {
	body := any(kvAnswer{data, message})
	if v.wrapped {
		body = struct {
			Value any `json:"value"`
		}{body}
	}
	return answer{status: status, body: mustJSON(body)}
}
