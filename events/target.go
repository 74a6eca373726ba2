package events

import (
	"cmp"
	"slices"
)

// Target is a kind of thing that can be deleted, and so which API deletes it. Its
// text is the last token of the request's subject and the field data.target.
type Target string

// kind is what the package must know of a target. The file of each target registers
// its own.
type kind struct {
	target Target
	fields []string // of data, which name the resource; all are required
	// read copies the fields from data, in which they are present.
	read func(data []member, to *ResourceFields) error
	// resource is nil, or an error, unless the fields are valid.
	resource func(ResourceFields) (Resource, error)
}

var (
	kinds     []kind               // sorted by target
	dataNames = []string{"target"} // all fields that the data of a request may have
)

// register adds a target. It returns a value so that a package variable can call it.
func register(k kind) Target {
	kinds = append(kinds, k)
	slices.SortFunc(kinds, func(a, b kind) int { return cmp.Compare(a.target, b.target) })
	for _, name := range k.fields {
		if !slices.Contains(dataNames, name) {
			dataNames = append(dataNames, name)
		}
	}
	return k.target
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

// Fields are the fields of data that name the target's resource, nil if t is unknown.
func (t Target) Fields() []string {
	k, _ := kindOf(t)
	return slices.Clone(k.fields)
}

func unknownTarget(t Target) *InvalidError {
	return invalid(CodeUnknownTarget, "data.target", "must be one of %q, not %s", Targets(), quote(string(t)))
}
