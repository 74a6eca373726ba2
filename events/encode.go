package events

import (
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/go-json-experiment/json"
)

// structured is an event in the JSON format of CloudEvents 1.0. The CloudEvents library
// writes the same, but in three passes and with six times the memory.
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

// encode writes an event in structured mode. The attributes are already checked; the
// CloudEvents library validates them again.
func encode(attributes event.EventContextV1, data any, limit int) ([]byte, error) {
	attributes.DataContentType = event.StringOfApplicationJSON()
	if err := (event.Event{Context: &attributes}).Validate(); err != nil {
		return nil, malformed(fieldBody, "is not a CloudEvent: %v", err)
	}
	e := structured{
		SpecVersion: event.CloudEventsVersionV1, ID: attributes.ID, Source: attributes.Source.String(), Type: attributes.Type,
		DataContentType: *attributes.DataContentType, Data: data,
	}
	if attributes.Subject != nil {
		e.Subject = *attributes.Subject
	}
	if attributes.Time != nil {
		e.Time = attributes.Time.UTC()
	}
	e.TraceParent, _ = attributes.Extensions["traceparent"].(string)
	e.TraceState, _ = attributes.Extensions["tracestate"].(string)
	text, err := json.Marshal(e)
	if err != nil {
		return nil, malformed(fieldBody, "cannot be written as JSON: %v", err)
	}
	if len(text) > limit {
		return nil, malformed(fieldBody, "must be at most %d bytes, not %d", limit, len(text))
	}
	return text, nil
}
