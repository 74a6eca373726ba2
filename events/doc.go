// Package events is the contract of Lethe in Go: what may be asked for, what is
// answered, and on which NATS subjects both travel.
//
// A [Request] is one CloudEvents 1.0 event that names a [Resource] to delete. A
// [Result] is the event that says what became of it, its [Outcome]. Requests are
// read strictly, token by token: an event that two JSON readers could understand
// differently is refused, with an [*InvalidError] that says which rule it broke and
// in which field, because a deletion cannot be taken back.
//
// The package needs neither a connection nor the rest of Lethe, so that programs
// upstream and downstream can use it too. Headers are plain map[string][]string,
// to which nats.Header converts.
//
// The same contract stands as documents beside the code: [AsyncAPI] and [Schemas]. A
// test holds the three against each other.
package events
