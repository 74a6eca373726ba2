package events

import (
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// MaxResultBytes is the most that a result may have, the largest message that NATS
// carries by default. It repeats the request's source, so it can be larger than a request.
const MaxResultBytes = 1 << 20

// Result says what became of a request.
type Result struct {
	EventID   string    // the event's own id, new for each result
	Source    string    // who made it, a URI-reference: /lethe/<instance>
	Time      time.Time // when the result was made
	RequestID string    // the request's id, or its [SequenceID]
	// RequestSource is the request's source; empty if it could not be read.
	RequestSource string
	Target        Target
	Resource      Resource // nil if it could not be read, which makes the outcome Invalid
	Outcome       Outcome
	Attempts      int          // HTTP calls made for the request so far
	Evidence      *Evidence    // what was seen; nil if no call was made
	ExpectedBy    time.Time    // when removal should be complete; zero unless AcceptedPending
	Error         *ResultError // on Invalid and Failed alone
}

// Evidence is what was seen of the API.
type Evidence struct {
	Status       int       `json:"status,omitzero"`         // HTTP status, 0 when no answer came
	Message      string    `json:"message,omitzero"`        // the API's words, or what went wrong
	APIRequestID string    `json:"api_request_id,omitzero"` // what the API calls the HTTP request
	ObservedAt   time.Time `json:"observed_at,omitzero"`
	CallID       string    `json:"call_id,omitzero"`       // our name for the HTTP call
	CallRequests int       `json:"call_requests,omitzero"` // requests that the call was made for
	// AfterUnansweredAttempt is true when an earlier attempt may have reached the
	// API without its answer reaching us, so that the deletion may have been ours.
	AfterUnansweredAttempt bool `json:"after_unanswered_attempt"`
}

// ResultError says why a result is [Invalid] or [Failed].
type ResultError struct {
	Code    Code    `json:"code"`
	Message string  `json:"message"`
	IDs     []int64 `json:"ids,omitzero"` // the refused ones, where only some of a request's ids were
}

// Encode writes the result as a CloudEvent in structured mode, to be published with
// [ContentType] as its content-type header. Texts that come from an API are made
// printable and cut to 1,024 bytes. Its error is an [*InvalidError] if the result
// contradicts itself: an error stands on [Invalid] and [Failed] alone, with a code of that
// outcome; ExpectedBy on [AcceptedPending] alone; and an outcome that an API gives
// needs its resource, an attempt and the evidence.
func (r Result) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Error != nil && r.Error.Code.Outcome() == "" {
		return nil, malformed("data.error.code", "must be one of %q, not %s", Codes(), quote(string(r.Error.Code)))
	}
	data := resultData{
		RequestID: r.RequestID, RequestSource: r.RequestSource, Target: r.Target,
		Outcome: r.Outcome, Final: r.Outcome.Final(), Attempts: r.Attempts, ExpectedBy: r.ExpectedBy.UTC(),
	}
	if r.Resource != nil {
		data.ResourceFields = r.Resource.fields()
	}
	if r.Evidence != nil {
		evidence := *r.Evidence
		evidence.Message = printable(evidence.Message, maxMessageBytes)
		evidence.APIRequestID = printable(evidence.APIRequestID, maxMessageBytes)
		evidence.CallID = printable(evidence.CallID, maxMessageBytes)
		evidence.ObservedAt = evidence.ObservedAt.UTC()
		data.Evidence = &evidence
	}
	if r.Error != nil {
		problem := *r.Error
		problem.Message = printable(problem.Message, maxMessageBytes)
		data.Error = &problem
	}
	attributes := event.EventContextV1{
		ID: r.EventID, Source: verbatim(r.Source), Type: r.Outcome.EventType(), Subject: &r.RequestID,
		Time: &types.Timestamp{Time: r.Time},
	}
	return encode(attributes, data, MaxResultBytes)
}

const maxMessageBytes = 1024

// resultData is the data of a result.
type resultData struct {
	RequestID     string `json:"request_id"`
	RequestSource string `json:"request_source,omitzero"`
	Target        Target `json:"target"`
	ResourceFields
	Outcome    Outcome      `json:"outcome"`
	Final      bool         `json:"final"`
	Attempts   int          `json:"attempts"`
	Evidence   *Evidence    `json:"evidence,omitzero"`
	ExpectedBy time.Time    `json:"expected_by,omitzero"`
	Error      *ResultError `json:"error,omitzero"`
}

// resource makes the resource of a result from its fields: nil if there are none.
func (d resultData) resource() (Resource, error) {
	if d.Target.Known() && d.IDs == nil && d.ReplicaUUID == "" && d.KnowledgeBaseID == 0 {
		return nil, nil
	}
	return NewResource(d.Target, d.ResourceFields)
}
