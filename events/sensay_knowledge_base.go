package events

import (
	"fmt"

	"github.com/google/uuid"
)

// SensayKnowledgeBase is the target for knowledge-base entries at Sensay.
const SensayKnowledgeBase Target = "sensay-knowledge-base"

func init() {
	register(kind{
		target: SensayKnowledgeBase,
		fields: []string{"replica_uuid", "knowledge_base_id"},
		read:   readEntry,
		resource: func(fields ResourceFields) (Resource, error) {
			replica, err := parseUUID("data.replica_uuid", fields.ReplicaUUID)
			if err != nil {
				return nil, err
			}
			entry := KnowledgeBaseEntry{ReplicaUUID: replica, KnowledgeBaseID: fields.KnowledgeBaseID}
			return entry, entry.Validate()
		},
	})
}

// KnowledgeBaseEntry names one entry of a replica's knowledge base at Sensay.
type KnowledgeBaseEntry struct {
	ReplicaUUID     uuid.UUID `json:"replica_uuid"`      // not the nil UUID
	KnowledgeBaseID int64     `json:"knowledge_base_id"` // at least 1
}

// Target returns [SensayKnowledgeBase].
func (KnowledgeBaseEntry) Target() Target { return SensayKnowledgeBase }

// Validate checks that the UUID is not the nil UUID, and the range of the entry's id.
func (k KnowledgeBaseEntry) Validate() error {
	if k.ReplicaUUID == uuid.Nil {
		return invalid(CodeInvalidResource, "data.replica_uuid", "must not be the nil UUID")
	}
	if k.KnowledgeBaseID < 1 {
		return invalid(CodeInvalidResource, "data.knowledge_base_id", "must be %s, not %d", integerRule, k.KnowledgeBaseID)
	}
	return nil
}

func (k KnowledgeBaseEntry) fields() ResourceFields {
	return ResourceFields{ReplicaUUID: k.ReplicaUUID.String(), KnowledgeBaseID: k.KnowledgeBaseID}
}

// BatchIDs returns nil, because a call deletes one entry.
func (KnowledgeBaseEntry) BatchIDs() []int64 { return nil }

// WithIDs returns k.
func (k KnowledgeBaseEntry) WithIDs([]int64) Resource { return k }

// String returns text such as "replica 03db5651-cb61-4bdf-9ef0-89561f7c9c53 entry 12345".
func (k KnowledgeBaseEntry) String() string {
	return fmt.Sprintf("replica %s entry %d", k.ReplicaUUID, k.KnowledgeBaseID)
}

func readEntry(data []member, fields *ResourceFields) error {
	replica, entry := find(data, "replica_uuid"), find(data, "knowledge_base_id")
	if replica.Kind() != '"' {
		return invalid(CodeInvalidResource, "data.replica_uuid", "must be a UUID of 36 characters, not %s", valueKind(replica))
	}
	fields.ReplicaUUID = unquote(replica)
	id, ok := positiveInteger(entry)
	if !ok {
		return notPositiveInteger("data.knowledge_base_id", entry)
	}
	fields.KnowledgeBaseID = id
	return nil
}
