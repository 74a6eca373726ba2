package events

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// RequestType is the CloudEvents type of a request.
const RequestType = "lethe.deletion.requested.v1"

// Limits of an event.
const (
	MaxEventBytes = 64 << 10 // size of a request in bytes, in binary mode with its ce- headers
	MaxDepth      = 32       // levels of nested objects and arrays, including the outermost
)

// Request asks for the deletion of one resource.
type Request struct {
	// ID identifies the request across all sources: [A-Za-z0-9_-]{1,64}, but not the
	// form of [SequenceID].
	ID string
	// Source is the URI-reference of the system that requests the deletion.
	Source string
	// Time is when the request was made, in UTC; zero if unknown.
	Time time.Time
	// Resource is what to delete.
	Resource Resource
	// TraceParent and TraceState are the CloudEvents distributed tracing extension;
	// empty if it is missing or not a valid W3C Trace Context.
	TraceParent, TraceState string
}

// NewRequest returns a request with the current time and a new UUIDv7 as its id.
func NewRequest(source string, res Resource) Request {
	return Request{
		ID:       uuid.Must(uuid.NewV7()).String(),
		Source:   source,
		Time:     time.Now().UTC(),
		Resource: res,
	}
}

// Target returns the target of the request's resource, empty if it has none.
func (r Request) Target() Target {
	if r.Resource == nil {
		return ""
	}
	return r.Resource.Target()
}

// MessageID returns the value of the header Nats-Msg-Id with which to publish a valid
// request. Two messages with the same value within ten minutes are stored once. It
// names the target, the id and the resource: a request that reuses the id of another
// for a different resource is stored too, and has a result that says so.
func (r Request) MessageID() string {
	return fmt.Sprintf("%s.%s.%s", r.Target(), r.ID, Fingerprint(r.Resource))
}

// Encode returns the request as a CloudEvent in structured mode. Publish it with
// [ContentType] as its content-type header. It returns an [*InvalidError] if the request
// violates the contract.
func (r Request) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	e := structured{ID: r.ID, Source: r.Source, Type: RequestType, Time: r.Time.UTC(), Data: &requestData{r.Target(), r.Resource.fields()}}
	e.TraceParent, e.TraceState = traceContext(r.TraceParent, r.TraceState)
	return encode(e, MaxEventBytes)
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

// ReadRequest reads a message from the target's subject, strictly. The content type
// [ContentType] means structured mode. Otherwise any ce- header means binary mode; a
// message without one is read as structured if its content type is JSON or missing. The
// case of header names is ignored.
//
// Extensions never make a request invalid: unknown ones are not read, and an invalid W3C
// Trace Context is dropped. In binary mode the values of headers may be percent-encoded
// as in the NATS protocol binding, or not.
//
// The error is an [*InvalidError]. The request returned with it contains only the ID and
// the Source, each only if it is unambiguous, so that the result can be published under
// that id.
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
