package events

import (
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// resultNames are all fields that we know in the data of a result.
var resultNames = []string{
	"request_id", "request_source", "target", "ids", "replica_uuid", "knowledge_base_id",
	"outcome", "final", "attempts", "evidence", "expected_by", "error",
}

// ReadResult reads a result with the same strictness about JSON and the envelope as
// [ReadRequest], in either mode, up to [MaxResultBytes]. A newer Lethe may add fields and
// error codes: unknown fields are left out, an unknown code of lower-case letters, digits
// and dashes is returned as it is, and its outcome says what it means. A new outcome would
// be another event type, which this reader refuses. Its error is an [*InvalidError].
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
		return Result{}, malformed(e.prefix+"type", "must be lethe.deletion.<outcome>.v1 with the outcome of its data, not %s", quote(e.eventType))
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
		return Result{}, malformed("data.final", "must be %t where the outcome is %s", r.Outcome.Final(), r.Outcome)
	}
	return r, nil
}

// typeError names the field of a result that has another type than it must.
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
