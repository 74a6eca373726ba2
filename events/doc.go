// Package events is Lethe's contract in Go: requests, results and their NATS subjects.
//
// A [Request] is a CloudEvents 1.0 event that names a [Resource] to delete. A
// [Result] is an event with the [Outcome] of a request. Deletions cannot be undone,
// so requests are read strictly: an event that two JSON parsers could read differently
// is refused with an [*InvalidError] that names the rule and the field.
//
// The package needs neither a connection nor the rest of Lethe, so that upstream and
// downstream programs can use it too. Headers have the type map[string][]string, to
// which nats.Header converts.
//
// [AsyncAPI] and [Schemas] describe the same contract as documents. A test checks that
// code and documents agree.
package events
