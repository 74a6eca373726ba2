package fakeapi

import (
	"net/http"
	"strings"
	"time"
)

// Toy is the toy API: notes.
const Toy API = "toy"

const toyKey = "sandbox-toy-key"

func init() {
	register(definition{
		api:        Toy,
		pathPrefix: "/toy",
		protocol:   func(*Config) protocol { return toyProtocol{} },
		credential: func(*Config) string { return toyKey },
		variable:   "LETHE_TOY_CREDENTIAL",
	})
}

type toyProtocol struct{}

func (toyProtocol) read(r *http.Request, _ []byte) request {
	id, err := parseID(strings.TrimPrefix(r.URL.Path, "/toy/"))
	switch {
	case !hasSecret(r.Header, "X-Toy-Key", toyKey):
		return refused(http.StatusUnauthorized, "wrong key")
	case r.Method != http.MethodDelete || err != nil:
		return refused(http.StatusBadRequest, "want DELETE /toy/ID")
	}
	return request{operation: Delete, authenticated: true, keys: []key{{id: id}}}
}

func (toyProtocol) remove(_ *store, keys []key, gone time.Time, _ callMeta) (answer, []change) {
	return answer{status: http.StatusOK, body: []byte(`{"deleted":true}`)}, []change{{keys[0], gone}}
}

func (toyProtocol) show(*store, key, callMeta) answer { return answer{status: http.StatusNotFound} }

func (toyProtocol) refuse(reason refusal, _ callMeta) answer {
	return answer{status: reason.status, body: mustJSON(map[string]string{"error": reason.text()})}
}

func (toyProtocol) lie(callMeta) answer {
	return answer{status: http.StatusOK, body: []byte(`{"deleted":false}`)}
}
