package fakeapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Sensay is api.sensay.io: knowledge-base entries.
const Sensay API = "sensay"

func init() {
	register(definition{
		api:        Sensay,
		pathPrefix: "/v1",
		protocol:   func(c *Config) protocol { return sensayProtocol{c.OrganizationSecret} },
		credential: func(c *Config) string { return c.OrganizationSecret },
		variable:   "LETHE_SENSAY_ORGANIZATION_SECRET",
		hasReplica: true,
		notFound:   true,
		faults:     []Fault{AcceptPending},
	})
}

// sensayProtocol imitates Sensay. Its document covers the call and the 200, 202 and 404; all other errors have the
// 404's shape.
type sensayProtocol struct {
	organizationSecret string
}

// sensayVersions are the accepted values of X-API-Version. The first is the default.
var sensayVersions = []string{"2025-03-25"}

const sensayPending = "The deletion process has been initiated. Full removal of all associated data may take up to 24 hours to complete."

type sensayError struct {
	Error     string `json:"error"`
	Success   bool   `json:"success"`
	RequestID string `json:"request_id"`
}

func (v sensayProtocol) read(r *http.Request, body []byte) request {
	// /v1/replicas/{replicaUUID}/knowledge-base/{knowledgeBaseID}
	parts := strings.Split(r.URL.EscapedPath(), "/")
	if len(parts) != 6 || parts[2] != "replicas" || parts[4] != "knowledge-base" || parts[3] == "" || parts[5] == "" {
		return request{refusal: &refusal{status: http.StatusNotFound, message: "Not Found", noRoute: true}}
	}
	req := request{}
	switch r.Method {
	case http.MethodDelete:
		req.operation = Delete
	case http.MethodGet:
		req.operation = Read
	default:
		req = refused(http.StatusMethodNotAllowed, "Method Not Allowed")
		req.refusal.allow = "DELETE, GET"
		return req
	}
	req.authenticated = hasSecret(r.Header, "X-Organization-Secret", v.organizationSecret)
	if !req.authenticated {
		req.refusal = &refusal{status: http.StatusUnauthorized}
		return req
	}
	entry, err := ParseEntry(string(Sensay) + "/" + parts[3] + "/" + parts[5])
	switch {
	case !knownVersion(r.Header.Values("X-Api-Version")):
		req.refusal = &refusal{status: http.StatusBadRequest, message: "Unknown X-API-Version"}
	case err != nil:
		req.refusal = &refusal{status: http.StatusBadRequest, message: "Invalid path: " + err.Error()}
	case len(body) > 0:
		req.refusal = &refusal{status: http.StatusBadRequest, message: "The request must not have a body"}
	default:
		req.keys = []key{entry.key()}
	}
	return req
}

func knownVersion(values []string) bool {
	return len(values) == 0 || len(values) == 1 && slices.Contains(sensayVersions, values[0])
}

func (v sensayProtocol) remove(s *store, keys []key, gone time.Time, call callMeta) (answer, []change) {
	k := keys[0]
	state := s.state(k, call.now)
	switch {
	case state == StatePresent && !gone.After(call.now):
		return answer{status: http.StatusOK, body: []byte(`{"success":true}`)}, []change{{k, gone}}
	case state == StatePresent:
		return v.pending(), []change{{k, gone}}
	case state == StatePending:
		return v.pending(), nil
	}
	return v.notFound(call), nil
}

func (v sensayProtocol) show(s *store, k key, call callMeta) answer {
	if state := s.state(k, call.now); state != StatePresent && state != StatePending {
		return v.notFound(call)
	}
	return answer{status: http.StatusOK, body: mustJSON(struct {
		Success bool   `json:"success"`
		ID      int64  `json:"id"`
		Replica string `json:"replicaUUID"`
	}{true, k.id, k.replica.String()})}
}

func (v sensayProtocol) pending() answer {
	return answer{status: http.StatusAccepted, body: mustJSON(struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
	}{true, sensayPending})}
}

func (v sensayProtocol) notFound(call callMeta) answer {
	return v.refuse(refusal{status: http.StatusNotFound, message: "Knowledge base entry not found"}, call)
}

func (v sensayProtocol) refuse(reason refusal, call callMeta) answer {
	id := call.requestID()
	switch {
	case reason.noRoute: // the hosting platform's page
		return answer{status: reason.status, requestID: id, contentType: "text/plain; charset=utf-8",
			body: []byte("The page could not be found\n\nNOT_FOUND\n\n" + id + "\n")}
	case reason.status == http.StatusNoContent || reason.status == http.StatusNotModified:
		return answer{status: reason.status}
	}
	return answer{status: reason.status, requestID: id, allow: reason.allow,
		body: mustJSON(sensayError{Error: reason.text(), RequestID: id})}
}

func (v sensayProtocol) lie(call callMeta) answer {
	id := call.requestID()
	return answer{status: http.StatusOK, requestID: id, body: mustJSON(sensayError{Error: "Something went wrong", RequestID: id})}
}

// requestID has the form of the documented example and ends with the call's number in hexadecimal.
func (call callMeta) requestID() string {
	return fmt.Sprintf("xyz1::reg1:reg1::ab3c4-%013d-%012x", call.now.UnixMilli(), call.number)
}
