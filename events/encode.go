package events

import (
	"bytes"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/go-json-experiment/json"
)

// encode writes an event in structured mode. The attributes have been checked; the
// CloudEvents library has the last word on them.
func encode(attributes event.EventContextV1, data any, limit int) ([]byte, error) {
	text, err := json.Marshal(data)
	if err != nil {
		return nil, malformed(fieldData, "cannot be written as JSON: %v", err)
	}
	attributes.DataContentType = event.StringOfApplicationJSON()
	e := event.Event{Context: &attributes, DataEncoded: text}
	if err := e.Validate(); err != nil {
		return nil, malformed(fieldBody, "is no CloudEvent: %v", err)
	}
	var b bytes.Buffer
	if err := event.WriteJson(&e, &b); err != nil {
		return nil, malformed(fieldBody, "cannot be written: %v", err)
	}
	if b.Len() > limit {
		return nil, malformed(fieldBody, "must not be larger than %d bytes, and has %d", limit, b.Len())
	}
	return b.Bytes(), nil
}
