package events

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// resourceNames are the fields that name the resource of each target.
var resourceNames = map[Target][]string{
	KVUserContext:       {"ids"},
	SensayKnowledgeBase: {"replica_uuid", "knowledge_base_id"},
}

// dataNames are all fields that the data of a request may have.
var dataNames = []string{"target", "ids", "replica_uuid", "knowledge_base_id"}

// readResource reads the resource of a known target from the fields of a request's
// data, in which nothing else may stand.
func readResource(target Target, data []member) (Resource, error) {
	names := resourceNames[target]
	for _, m := range data {
		if m.name != "target" && !slices.Contains(names, m.name) {
			return nil, invalid(CodeInvalidResource, "data."+m.name, "is no field of a %s request", target)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(data, func(m member) bool { return m.name == name }) {
			return nil, invalid(CodeInvalidResource, "data."+name, "is missing")
		}
	}
	if target == KVUserContext {
		return readUserContexts(data)
	}
	return readKnowledgeBaseEntry(data)
}

func readUserContexts(data []member) (Resource, error) {
	const field = "data.ids"
	value := find(data, "ids")
	if value.Kind() != '[' {
		return nil, invalid(CodeInvalidResource, field, "must be an array of 1 to %d ids, not %s", MaxIDs, valueKind(value))
	}
	var u UserContexts
	dec := jsontext.NewDecoder(bytes.NewBuffer(value))
	if _, err := dec.ReadToken(); err != nil {
		return nil, syntaxError(field, err)
	}
	for dec.PeekKind() != ']' {
		if len(u.IDs) == MaxIDs {
			return nil, invalid(CodeInvalidResource, field, "must hold 1 to %d ids, not more", MaxIDs)
		}
		element, err := dec.ReadValue()
		if err != nil {
			return nil, syntaxError(field, err)
		}
		id, ok := positiveInteger(element)
		if !ok {
			return nil, notPositiveInteger(idField(len(u.IDs)), element)
		}
		u.IDs = append(u.IDs, id)
	}
	return u, u.Validate()
}

func readKnowledgeBaseEntry(data []member) (Resource, error) {
	replica, err := readUUID("data.replica_uuid", find(data, "replica_uuid"))
	if err != nil {
		return nil, err
	}
	value := find(data, "knowledge_base_id")
	id, ok := positiveInteger(value)
	if !ok {
		return nil, notPositiveInteger("data.knowledge_base_id", value)
	}
	return KnowledgeBaseEntry{ReplicaUUID: replica, KnowledgeBaseID: id}, nil
}

// readUUID accepts the 36-character form of RFC 9562 alone; the library would take
// braces, a urn: prefix and bare digits too.
func readUUID(field string, value jsontext.Value) (uuid.UUID, error) {
	const rule = "must be a UUID of 36 characters"
	if value.Kind() != '"' {
		return uuid.UUID{}, invalid(CodeInvalidResource, field, rule+", not %s", valueKind(value))
	}
	written := unquote(value)
	id, err := uuid.Parse(written)
	if err != nil || len(written) != 36 {
		return uuid.UUID{}, invalid(CodeInvalidResource, field, rule+", not %s", quote(written))
	}
	return id, nil
}
