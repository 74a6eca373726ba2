// Package sabotage breaks Lethe on purpose, so that what proves Lethe can be
// proved itself: a process dies or stands still at a named point of a request's
// way, or leaves out one of the rules that the promises stand on.
//
// Only a binary built with the tag "sabotage" can do so; in any other one the
// functions of this package are empty and compiled away. Such a binary reads
// two variables:
//
//	LETHE_SABOTAGE_AT       POINT:DEED[:NTH][:DELAY], such as answered:die:3 or
//	                        claimed:stop:1:5ms. The deeds are die (SIGKILL) and
//	                        stop (SIGSTOP). NTH counts how often the point is
//	                        reached, from 1; DELAY is how long after that the
//	                        process dies or stops.
//	LETHE_SABOTAGE_WITHOUT  the rules to leave out, separated by commas
package sabotage

// Point is a place on the way of a request, named after what was done last.
type Point string

// The points in their order. Dying some time after one reaches what lies
// between it and the next.
const (
	Taken     Point = "taken"     // the message is in hand
	Claimed   Point = "claimed"   // the attempt is stored, or nobody was found ahead
	Answered  Point = "answered"  // the API has answered
	Resulted  Point = "resulted"  // the result is stored
	Scheduled Point = "scheduled" // the next step is stored
	Settled   Point = "settled"   // the message is acknowledged, or handed back
)

// Points are all points, in their order.
func Points() []Point { return []Point{Taken, Claimed, Answered, Resulted, Scheduled, Settled} }

// Rule is one that can be left out.
type Rule string

// The rules, each of which holds up a promise.
const (
	Expectation Rule = "expectation" // a link is stored only behind the one its writer knew
	Attempts    Rule = "attempts"    // an attempt is stored before its call
	Lease       Rule = "lease"       // nobody calls while another may, nor when his own time is over
	AckLast     Rule = "ack-last"    // a message is acknowledged after its step is stored
	Unanswered  Rule = "unanswered"  // an attempt without an answer may have deleted
)

// Rules are all rules.
func Rules() []Rule { return []Rule{Expectation, Attempts, Lease, AckLast, Unanswered} }
