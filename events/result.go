package events

import "time"

// MaxResultBytes is the maximum size of a result, the default maximum payload of NATS. A
// result repeats the request's source, so it can be larger than a request.
const MaxResultBytes = 1 << 20

// Result is the result of a request.
type Result struct {
	EventID   string    // the event's id, new for each result
	Source    string    // the worker, a URI-reference: /lethe/<instance>
	Time      time.Time // when the result was made
	RequestID string    // the request's id, or its [SequenceID]
	// RequestSource is the request's source, empty if it could not be read.
	RequestSource string
	Target        Target
	Resource      Resource // nil if it could not be read; then the outcome is Invalid
	Outcome       Outcome
	Attempts      int          // HTTP calls made for the request so far
	Evidence      *Evidence    // nil if no call was made
	ExpectedBy    time.Time    // when removal should be complete; only set if AcceptedPending
	Error         *ResultError // only set if Invalid or Failed
}

// Evidence is what was observed of the API.
type Evidence struct {
	Status       int       `json:"status,omitzero"`         // HTTP status, 0 if there was no answer
	Message      string    `json:"message,omitzero"`        // the API's message, or the error of the call
	APIRequestID string    `json:"api_request_id,omitzero"` // the API's id of the HTTP request
	ObservedAt   time.Time `json:"observed_at,omitzero"`
	CallID       string    `json:"call_id,omitzero"`       // Lethe's id of the HTTP call
	CallRequests int       `json:"call_requests,omitzero"` // number of requests in the call
	// AfterUnansweredAttempt is true if an earlier attempt may have reached the API but
	// its answer was lost, so that Lethe itself may have deleted the resource.
	AfterUnansweredAttempt bool `json:"after_unanswered_attempt"`
}

// ResultError is the reason of an [Invalid] or [Failed] result.
type ResultError struct {
	Code    Code    `json:"code"`
	Message string  `json:"message"`
	IDs     []int64 `json:"ids,omitzero"` // the refused ids, if the API refused only some
}

// Encode returns the result as a CloudEvent in structured mode. Publish it with
// [ContentType] as its content-type header. Texts from an API are made printable and cut
// to 1,024 bytes. It returns an [*InvalidError] if the result is inconsistent: only
// [Invalid] and [Failed] have an error, with a code of that outcome; only
// [AcceptedPending] has ExpectedBy; and an outcome from an API needs a resource, an
// attempt and evidence.
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
	return encode(structured{
		ID: r.EventID, Source: r.Source, Type: r.Outcome.EventType(), Subject: r.RequestID, Time: r.Time.UTC(), Data: &data,
	}, MaxResultBytes)
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

// resource returns the resource of a result, nil if it has no fields of one.
func (d resultData) resource() (Resource, error) {
	if d.Target.Known() && d.IDs == nil && d.ReplicaUUID == "" && d.KnowledgeBaseID == 0 {
		return nil, nil
	}
	return NewResource(d.Target, d.ResourceFields)
}
