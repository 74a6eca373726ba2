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

	fields() resourceFields
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

func (u UserContexts) fields() resourceFields { return resourceFields{IDs: slices.Clone(u.IDs)} }

// KnowledgeBaseEntry names one entry of a replica's knowledge base at Sensay.
type KnowledgeBaseEntry struct {
	ReplicaUUID     uuid.UUID `json:"replica_uuid"`
	KnowledgeBaseID int64     `json:"knowledge_base_id"` // at least 1
}

// Target is [SensayKnowledgeBase].
func (KnowledgeBaseEntry) Target() Target { return SensayKnowledgeBase }

// Validate checks the range of the entry's id. Any UUID is a right one.
func (k KnowledgeBaseEntry) Validate() error {
	if k.KnowledgeBaseID < 1 {
		return invalid(CodeInvalidResource, "data.knowledge_base_id", "must be %s, not %d", integerRule, k.KnowledgeBaseID)
	}
	return nil
}

func (k KnowledgeBaseEntry) fields() resourceFields {
	return resourceFields{ReplicaUUID: k.ReplicaUUID.String(), KnowledgeBaseID: k.KnowledgeBaseID}
}

// resourceFields is how the resources look in the data of requests and results.
type resourceFields struct {
	IDs             []int64 `json:"ids,omitzero"`
	ReplicaUUID     string  `json:"replica_uuid,omitzero"`
	KnowledgeBaseID int64   `json:"knowledge_base_id,omitzero"`
}
