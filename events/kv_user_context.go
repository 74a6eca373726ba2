package events

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// KVUserContext is the target for user contexts at k-v.ai.
const KVUserContext Target = "kv-user-context"

func init() {
	register(kind{
		target: KVUserContext,
		fields: []string{"ids"},
		read:   readIDs,
		resource: func(fields ResourceFields) (Resource, error) {
			contexts := UserContexts{IDs: fields.IDs}
			return contexts, contexts.Validate()
		},
	})
}

// MaxIDs is the largest number of ids in one [UserContexts].
const MaxIDs = 100

// UserContexts names user contexts at k-v.ai: 1 to [MaxIDs] distinct ids, each at least
// 1.
type UserContexts struct {
	IDs []int64 `json:"ids"`
}

// Target returns [KVUserContext].
func (UserContexts) Target() Target { return KVUserContext }

// Validate checks the number of ids, their range and that they are distinct.
func (u UserContexts) Validate() error {
	if len(u.IDs) == 0 || len(u.IDs) > MaxIDs {
		return invalid(CodeInvalidResource, "data.ids", "must contain 1 to %d ids, not %d", MaxIDs, len(u.IDs))
	}
	seen := make(map[int64]bool, len(u.IDs))
	for i, id := range u.IDs {
		if id < 1 {
			return invalid(CodeInvalidResource, idField(i), "must be %s, not %d", integerRule, id)
		}
		if seen[id] {
			return invalid(CodeInvalidResource, idField(i), "repeats the id %d", id)
		}
		seen[id] = true
	}
	return nil
}

func idField(i int) string { return fmt.Sprintf("data.ids[%d]", i) }

func (u UserContexts) fields() ResourceFields { return ResourceFields{IDs: slices.Clone(u.IDs)} }

// BatchIDs returns the ids.
func (u UserContexts) BatchIDs() []int64 { return u.IDs }

// WithIDs returns user contexts with other ids.
func (UserContexts) WithIDs(ids []int64) Resource { return UserContexts{IDs: ids} }

// String returns text such as "ids 10 11".
func (u UserContexts) String() string {
	text := make([]string, len(u.IDs))
	for i, id := range u.IDs {
		text[i] = strconv.FormatInt(id, 10)
	}
	return "ids " + strings.Join(text, " ")
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
			return invalid(CodeInvalidResource, field, "must contain 1 to %d ids, not more", MaxIDs)
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
