package events

import (
	"fmt"
	"slices"
)

// ToyNote is the target for notes at the toy API.
const ToyNote Target = "toy-note"

func init() {
	register(kind{
		target: ToyNote,
		fields: []string{"ids"},
		read:   readIDs,
		resource: func(fields ResourceFields) (Resource, error) {
			notes := ToyNotes{IDs: fields.IDs}
			return notes, notes.Validate()
		},
	})
}

// ToyNotes names notes at the toy API.
type ToyNotes struct {
	IDs []int64 `json:"ids"`
}

// Target is [ToyNote].
func (ToyNotes) Target() Target { return ToyNote }

// Validate checks the number of ids, their range and that none is repeated.
func (n ToyNotes) Validate() error { return UserContexts(n).Validate() }

// BatchIDs are the ids.
func (n ToyNotes) BatchIDs() []int64 { return n.IDs }

// WithIDs names other notes.
func (ToyNotes) WithIDs(ids []int64) Resource { return ToyNotes{IDs: ids} }

// String is "notes [7]".
func (n ToyNotes) String() string { return fmt.Sprintf("notes %d", n.IDs) }

func (n ToyNotes) fields() ResourceFields { return ResourceFields{IDs: slices.Clone(n.IDs)} }
