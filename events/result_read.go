package events

import (
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// resultNames are the known fields in the data of a result.
var resultNames = []string{
	"request_id", "request_source", "target", "ids", "replica_uuid", "knowledge_base_id",
	"outcome", "final", "attempts", "evidence", "expected_by", "error",
}

// ReadResult reads a result of up to [MaxResultBytes] in either mode. It is as strict about
// JSON and the envelope as [ReadRequest]. Newer versions of Lethe may add fields and error
// codes: it ignores unknown fields and returns unknown codes of lower-case letters, digits
// and dashes unchanged. It refuses unknown outcomes, which would have another event type.
// The error is an [*InvalidError].
func ReadResult(header map[string][]string, body []byte) (Result, error) {
	e, err := readEnvelope(header, body, MaxResultBytes)
	if err != nil {
		return Result{}, err
	}
	if err := checkNames("data.", e.data, resultNames); err != nil {
		return Result{}, err
	}
	var d resultData
	if err := json.Unmarshal(e.dataText, &d); err != nil {
		return Result{}, typeError(err)
	}
	if !d.Outcome.Known() {
		return Result{}, unknownOutcome(d.Outcome)
	}
	if d.Outcome.EventType() != e.eventType {
		return Result{}, malformed(e.prefix+"type", "must be lethe.deletion.<outcome>.v1 with the outcome in data, not %s", quote(e.eventType))
	}
	if e.subject != d.RequestID {
		return Result{}, malformed(e.prefix+"subject", "must be the id of the request, not %s", quote(e.subject))
	}
	resource, err := d.resource()
	if err != nil {
		return Result{}, err
	}
	r := Result{
		EventID: e.id, Source: e.source, Time: e.time,
		RequestID: d.RequestID, RequestSource: d.RequestSource, Target: d.Target, Resource: resource,
		Outcome: d.Outcome, Attempts: d.Attempts, Evidence: d.Evidence, ExpectedBy: d.ExpectedBy.UTC(), Error: d.Error,
	}
	if r.Evidence != nil {
		r.Evidence.ObservedAt = r.Evidence.ObservedAt.UTC()
	}
	if err := r.check(); err != nil {
		return Result{}, err
	}
	if d.Final != r.Outcome.Final() {
		return Result{}, malformed("data.final", "must be %t if the outcome is %s", r.Outcome.Final(), r.Outcome)
	}
	return r, nil
}

// typeError returns the error of a field with a wrong type.
func typeError(err error) error {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return syntaxError(fieldData, err)
	}
	field := pointerField(fieldData, semantic.JSONPointer)
	if semantic.JSONKind == jsontext.KindInvalid || semantic.Err != nil {
		return malformed(field, "cannot be read: %v", semantic.Err)
	}
	return malformed(field, "has the wrong type: %s", kindName(semantic.JSONKind))
}
