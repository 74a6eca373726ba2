package events

import (
	"time"

	"github.com/go-json-experiment/json"
)

// structured is an event in the JSON format of CloudEvents 1.0. The CloudEvents SDK
// writes the same, but in three passes and with six times the memory; and each importer
// would compile four modules more. The tests compare with it.
type structured struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject,omitzero"`
	DataContentType string    `json:"datacontenttype"`
	Time            time.Time `json:"time,omitzero"`
	TraceParent     string    `json:"traceparent,omitzero"`
	TraceState      string    `json:"tracestate,omitzero"`
	Data            any       `json:"data"`
}

// encode writes an event in structured mode. Its attributes are already checked.
func encode(e structured, limit int) ([]byte, error) {
	e.SpecVersion, e.DataContentType = specVersion, contentTypeJSON
	text, err := json.Marshal(&e)
	if err != nil {
		return nil, malformed(fieldBody, "cannot be written as JSON: %v", err)
	}
	if len(text) > limit {
		return nil, malformed(fieldBody, "must be at most %d bytes, not %d", limit, len(text))
	}
	return text, nil
}
