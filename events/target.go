package events

// Target is a kind of thing that can be deleted, and so which API deletes it. Its
// text is the last token of the request's subject and the field data.target.
type Target string

// The targets.
const (
	KVUserContext       Target = "kv-user-context"       // user contexts at k-v.ai
	SensayKnowledgeBase Target = "sensay-knowledge-base" // a knowledge-base entry at Sensay
)

// Targets returns all targets, always in the same order.
func Targets() []Target { return []Target{KVUserContext, SensayKnowledgeBase} }

// Known reports whether t is one of [Targets].
func (t Target) Known() bool { return t == KVUserContext || t == SensayKnowledgeBase }

func unknownTarget(t Target) *InvalidError {
	return invalid(CodeUnknownTarget, "data.target", "must be one of %q, not %s", Targets(), quote(string(t)))
}
