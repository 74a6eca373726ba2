package events

import (
	"cmp"
	"slices"
)

// Target is the kind of resource, and thereby the API that deletes it. It is the last
// token of a request's subject and the field data.target.
type Target string

// kind describes a target. The file of each target registers its own.
type kind struct {
	target Target
	fields []string // the fields of data that name the resource; all are required
	// read reads the fields from data, which contains all of them.
	read func(data []member, to *ResourceFields) error
	// resource returns the resource, or an error if the fields are invalid.
	resource func(ResourceFields) (Resource, error)
}

var (
	kinds     []kind               // sorted by target
	dataNames = []string{"target"} // all fields in the data of requests
)

// register adds a target.
func register(k kind) {
	kinds = append(kinds, k)
	slices.SortFunc(kinds, func(a, b kind) int { return cmp.Compare(a.target, b.target) })
	for _, name := range k.fields {
		if !slices.Contains(dataNames, name) {
			dataNames = append(dataNames, name)
		}
	}
}

func kindOf(t Target) (kind, bool) {
	for _, k := range kinds {
		if k.target == t {
			return k, true
		}
	}
	return kind{}, false
}

// Targets returns all targets, sorted.
func Targets() []Target {
	targets := make([]Target, len(kinds))
	for i, k := range kinds {
		targets[i] = k.target
	}
	return targets
}

// Known reports whether t is one of [Targets].
func (t Target) Known() bool {
	_, known := kindOf(t)
	return known
}

// Fields returns the fields of data that name the target's resource, nil if t is unknown.
func (t Target) Fields() []string {
	k, _ := kindOf(t)
	return slices.Clone(k.fields)
}

func unknownTarget(t Target) *InvalidError {
	return invalid(CodeUnknownTarget, "data.target", "must be one of %q, not %s", Targets(), quote(string(t)))
}
