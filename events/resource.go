package events

import (
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// Resource is what a request names: [UserContexts] or [KnowledgeBaseEntry]. The set
// is closed, one kind for each [Target].
type Resource interface {
	// Target is the kind of thing that the resource is.
	Target() Target
	// Validate is nil, or an [*InvalidError] with [CodeInvalidResource] and the
	// name of the field.
	Validate() error

	fields() ResourceFields
}

// MaxIDs is the largest number of ids in one [UserContexts].
const MaxIDs = 100

// UserContexts names user contexts at k-v.ai: 1 to [MaxIDs] ids, each at least 1,
// none twice.
type UserContexts struct {
	IDs []int64 `json:"ids"`
}

// Target is [KVUserContext].
func (UserContexts) Target() Target { return KVUserContext }

// Validate checks the number of ids, their range and that none is repeated.
func (u UserContexts) Validate() error {
	if len(u.IDs) == 0 || len(u.IDs) > MaxIDs {
		return invalid(CodeInvalidResource, "data.ids", "must hold 1 to %d ids, not %d", MaxIDs, len(u.IDs))
	}
	first := make(map[int64]int, len(u.IDs))
	for i, id := range u.IDs {
		if id < 1 {
			return invalid(CodeInvalidResource, idField(i), "must be %s, not %d", integerRule, id)
		}
		if j, seen := first[id]; seen {
			return invalid(CodeInvalidResource, idField(i), "repeats data.ids[%d], %d", j, id)
		}
		first[id] = i
	}
	return nil
}

func idField(i int) string { return fmt.Sprintf("data.ids[%d]", i) }

func (u UserContexts) fields() ResourceFields { return ResourceFields{IDs: slices.Clone(u.IDs)} }

// KnowledgeBaseEntry names one entry of a replica's knowledge base at Sensay.
type KnowledgeBaseEntry struct {
	ReplicaUUID     uuid.UUID `json:"replica_uuid"`      // not the nil UUID
	KnowledgeBaseID int64     `json:"knowledge_base_id"` // at least 1
}

// Target is [SensayKnowledgeBase].
func (KnowledgeBaseEntry) Target() Target { return SensayKnowledgeBase }

// Validate checks that there is a UUID, and the range of the entry's id.
func (k KnowledgeBaseEntry) Validate() error {
	if k.ReplicaUUID == uuid.Nil {
		return invalid(CodeInvalidResource, "data.replica_uuid", "must not be the nil UUID, which names no replica")
	}
	if k.KnowledgeBaseID < 1 {
		return invalid(CodeInvalidResource, "data.knowledge_base_id", "must be %s, not %d", integerRule, k.KnowledgeBaseID)
	}
	return nil
}

func (k KnowledgeBaseEntry) fields() ResourceFields {
	return ResourceFields{ReplicaUUID: k.ReplicaUUID.String(), KnowledgeBaseID: k.KnowledgeBaseID}
}

// ResourceFields are the fields of all resources as data, files and flags have them.
// Those of other targets than the resource's are zero.
type ResourceFields struct {
	IDs             []int64 `json:"ids,omitzero"`
	ReplicaUUID     string  `json:"replica_uuid,omitzero"`
	KnowledgeBaseID int64   `json:"knowledge_base_id,omitzero"`
}

// NewResource is the target's resource with these fields. Its error is an
// [*InvalidError]: with [CodeUnknownTarget], or with [CodeInvalidResource] and the field
// that is missing, out of range or another target's.
func NewResource(target Target, fields ResourceFields) (Resource, error) {
	if !target.Known() {
		return nil, unknownTarget(target)
	}
	if field := fields.foreignTo(target); field != "" {
		return nil, foreignField(field, target)
	}
	if target == KVUserContext {
		contexts := UserContexts{IDs: fields.IDs}
		return contexts, contexts.Validate()
	}
	replica, err := parseUUID("data.replica_uuid", fields.ReplicaUUID)
	if err != nil {
		return nil, err
	}
	entry := KnowledgeBaseEntry{ReplicaUUID: replica, KnowledgeBaseID: fields.KnowledgeBaseID}
	return entry, entry.Validate()
}

// foreignTo is the name of a field that is set and belongs to another target, if any.
func (f ResourceFields) foreignTo(target Target) string {
	switch {
	case target != KVUserContext && f.IDs != nil:
		return "data.ids"
	case target != SensayKnowledgeBase && f.ReplicaUUID != "":
		return "data.replica_uuid"
	case target != SensayKnowledgeBase && f.KnowledgeBaseID != 0:
		return "data.knowledge_base_id"
	}
	return ""
}

func foreignField(field string, target Target) *InvalidError {
	return invalid(CodeInvalidResource, field, "is no field of a %s request", target)
}

// parseUUID accepts the 36-character form of RFC 9562 alone; the library would take
// braces, a urn: prefix and bare digits too.
func parseUUID(field, written string) (uuid.UUID, error) {
	id, err := uuid.Parse(written)
	if err != nil || len(written) != 36 {
		return uuid.UUID{}, invalid(CodeInvalidResource, field, "must be a UUID of 36 characters, not %s", quote(written))
	}
	return id, nil
}
