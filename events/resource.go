package events

import (
	"slices"

	"github.com/google/uuid"
)

// Resource is what a request deletes, such as [UserContexts] or [KnowledgeBaseEntry].
// The set is closed, one type for each [Target].
type Resource interface {
	// Target returns the target of the resource.
	Target() Target
	// Validate returns an [*InvalidError] with [CodeInvalidResource] and the name of
	// the field if the resource is invalid.
	Validate() error
	// BatchIDs returns the ids that one call can combine with those of other
	// requests, or nil if a call deletes one resource only. Do not modify it.
	BatchIDs() []int64
	// WithIDs returns a resource of the same type with other BatchIDs, or the
	// resource itself if BatchIDs is nil.
	WithIDs(ids []int64) Resource
	// String returns one line of text for people.
	String() string

	fields() ResourceFields
}

// ResourceFields holds the fields of all resources, as in data, files and flags. Fields
// of other targets are zero.
type ResourceFields struct {
	IDs             []int64 `json:"ids,omitzero"`
	ReplicaUUID     string  `json:"replica_uuid,omitzero"`
	KnowledgeBaseID int64   `json:"knowledge_base_id,omitzero"`
}

// NewResource returns the target's resource with these fields. The error is an
// [*InvalidError] with [CodeUnknownTarget], or with [CodeInvalidResource] and a field
// that is missing, invalid or belongs to another target.
func NewResource(target Target, fields ResourceFields) (Resource, error) {
	k, known := kindOf(target)
	if !known {
		return nil, unknownTarget(target)
	}
	if field := fields.foreignTo(k); field != "" {
		return nil, foreignField(field, target)
	}
	return k.resource(fields)
}

// foreignTo returns the name of a field that is set but belongs to other targets, if any.
func (f ResourceFields) foreignTo(k kind) string {
	for _, field := range []struct {
		name string
		set  bool
	}{{"ids", f.IDs != nil}, {"replica_uuid", f.ReplicaUUID != ""}, {"knowledge_base_id", f.KnowledgeBaseID != 0}} {
		if field.set && !slices.Contains(k.fields, field.name) {
			return "data." + field.name
		}
	}
	return ""
}

func foreignField(field string, target Target) *InvalidError {
	return invalid(CodeInvalidResource, field, "does not belong to a %s request", target)
}

// readResource reads the resource of a known target from the fields of a request's
// data, and refuses all other fields.
func readResource(target Target, data []member) (Resource, error) {
	k, _ := kindOf(target)
	for _, m := range data {
		if m.name != "target" && !slices.Contains(k.fields, m.name) {
			return nil, foreignField("data."+m.name, target)
		}
	}
	for _, name := range k.fields {
		if !slices.ContainsFunc(data, func(m member) bool { return m.name == name }) {
			return nil, invalid(CodeInvalidResource, "data."+name, "is missing")
		}
	}
	var fields ResourceFields
	if err := k.read(data, &fields); err != nil {
		return nil, err
	}
	return NewResource(target, fields)
}

// parseUUID accepts only the 36-character form of RFC 9562. The library also accepts
// braces, a urn: prefix and plain hex digits.
func parseUUID(field, written string) (uuid.UUID, error) {
	id, err := uuid.Parse(written)
	if err != nil || len(written) != 36 {
		return uuid.UUID{}, invalid(CodeInvalidResource, field, "must be a UUID of 36 characters, not %s", quote(written))
	}
	return id, nil
}
