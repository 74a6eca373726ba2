package events

import (
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// RequestType is the CloudEvents type of a request.
const RequestType = "lethe.deletion.requested.v1"

// Limits of an event.
const (
	MaxEventBytes = 64 << 10 // bytes of a request; in binary mode its ce- headers included
	MaxDepth      = 32       // levels of objects and arrays, the outermost being the first
)

// Request asks for the deletion of one resource.
type Request struct {
	// ID names the request for good, across all sources: [A-Za-z0-9_-]{1,64}, and
	// not of the form of [SequenceID]. Publish the event with it as Nats-Msg-Id.
	ID string
	// Source is the URI-reference of who asks.
	Source string
	// Time is when it was asked, in UTC; zero where the event does not say.
	Time time.Time
	// Resource is what to delete.
	Resource Resource
	// TraceParent and TraceState are the CloudEvents distributed tracing extension;
	// empty where the event has none, or none that W3C Trace Context allows.
	TraceParent, TraceState string
}

// NewRequest is a request made now, with a new UUIDv7 as its id.
func NewRequest(source string, res Resource) Request {
	return Request{
		ID:       uuid.Must(uuid.NewV7()).String(),
		Source:   source,
		Time:     time.Now().UTC(),
		Resource: res,
	}
}

// Target is the target of the request's resource, empty if it has none.
func (r Request) Target() Target {
	if r.Resource == nil {
		return ""
	}
	return r.Resource.Target()
}

// Encode writes the request as a CloudEvent in structured mode, to be published with
// [ContentType] as its content-type header. Its error is an [*InvalidError] if the
// request breaks a rule of the contract.
func (r Request) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	attributes := event.EventContextV1{ID: r.ID, Source: verbatim(r.Source), Type: RequestType}
	if !r.Time.IsZero() {
		attributes.Time = &types.Timestamp{Time: r.Time}
	}
	if parent, state := traceContext(r.TraceParent, r.TraceState); parent != "" {
		attributes.Extensions = map[string]any{"traceparent": parent}
		if state != "" {
			attributes.Extensions["tracestate"] = state
		}
	}
	return encode(attributes, requestData{r.Target(), r.Resource.fields()}, MaxEventBytes)
}

func (r Request) check() error {
	if err := checkID("id", r.ID); err != nil {
		return err
	}
	if err := checkSource("source", r.Source); err != nil {
		return err
	}
	if err := checkTime("time", r.Time); err != nil {
		return err
	}
	if r.Resource == nil {
		return invalid(CodeInvalidResource, fieldData, "names no resource")
	}
	return r.Resource.Validate()
}

// requestData is the data of a request.
type requestData struct {
	Target Target `json:"target"`
	ResourceFields
}

// ReadRequest reads one message of the target's subject, strictly. The content type
// [ContentType] means structured mode. Otherwise any ce- header means binary mode, and a
// message without one is read as structured if its content type is JSON or missing. The
// names of headers are matched in any case.
//
// Extensions never make a request invalid: unknown ones are not read, and a trace that W3C
// Trace Context does not allow is left out. In binary mode the values of headers may be
// percent-encoded as in the NATS protocol binding, or not.
//
// Its error is an [*InvalidError]. The request returned with it has its ID, and its
// Source, if they could be read without doubt, so that the result can be published under
// that id, and nothing else.
func ReadRequest(target Target, header map[string][]string, body []byte) (Request, error) {
	r, err := readRequest(target, header, body)
	if err != nil {
		return identify(header, body), err
	}
	return r, nil
}

func readRequest(target Target, header map[string][]string, body []byte) (Request, error) {
	e, err := readEnvelope(header, body, MaxEventBytes)
	if err != nil {
		return Request{}, err
	}
	prefix := e.prefix
	if err := checkID(prefix+"id", e.id); err != nil {
		return Request{}, err
	}
	if e.eventType != RequestType {
		return Request{}, malformed(prefix+"type", "must be %q, not %s", RequestType, quote(e.eventType))
	}
	if err := checkNames("data.", e.data, dataNames); err != nil {
		return Request{}, err
	}
	if err := checkTarget(target, find(e.data, "target")); err != nil {
		return Request{}, err
	}
	resource, err := readResource(target, e.data)
	if err != nil {
		return Request{}, err
	}
	return Request{
		ID: e.id, Source: e.source, Time: e.time, Resource: resource,
		TraceParent: e.traceParent, TraceState: e.traceState,
	}, nil
}

// checkTarget compares data.target with the target of the subject.
func checkTarget(want Target, value jsontext.Value) error {
	const field = "data.target"
	if value == nil {
		return malformed(field, "is missing")
	}
	if value.Kind() != '"' {
		return malformed(field, "must be a string, not %s", kindName(value.Kind()))
	}
	named := Target(unquote(value))
	if !named.Known() {
		return unknownTarget(named)
	}
	if named != want {
		return invalid(CodeTargetMismatch, field, "must be %s, the last token of the subject, not %s",
			quote(string(want)), quote(string(named)))
	}
	return nil
}
