package events

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
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
			return nil, foreignField("data."+m.name, target)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(data, func(m member) bool { return m.name == name }) {
			return nil, invalid(CodeInvalidResource, "data."+name, "is missing")
		}
	}
	var fields ResourceFields
	read := readEntry
	if target == KVUserContext {
		read = readIDs
	}
	if err := read(data, &fields); err != nil {
		return nil, err
	}
	return NewResource(target, fields)
}

func readIDs(data []member, fields *ResourceFields) error {
	const field = "data.ids"
	value := find(data, "ids")
	if value.Kind() != '[' {
		return invalid(CodeInvalidResource, field, "must be an array of 1 to %d ids, not %s", MaxIDs, valueKind(value))
	}
	fields.IDs = []int64{}
	dec := jsontext.NewDecoder(bytes.NewBuffer(value))
	if _, err := dec.ReadToken(); err != nil {
		return syntaxError(field, err)
	}
	for dec.PeekKind() != ']' {
		if len(fields.IDs) == MaxIDs {
			return invalid(CodeInvalidResource, field, "must hold 1 to %d ids, not more", MaxIDs)
		}
		element, err := dec.ReadValue()
		if err != nil {
			return syntaxError(field, err)
		}
		id, ok := positiveInteger(element)
		if !ok {
			return notPositiveInteger(idField(len(fields.IDs)), element)
		}
		fields.IDs = append(fields.IDs, id)
	}
	return nil
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
