// Package failpoint names the points in the processing of a request at which a build
// for tests can crash or stop, so that tests can kill a worker exactly there.
//
// Only a binary built with the tag "failpoint" does so. In any other build [At] is
// empty and compiles to nothing. Such a binary reads one variable:
//
//	LETHE_FAILPOINT  POINT:ACTION[:NTH][:DELAY], such as answered:die:3 or
//	                 claimed:stop:1:5ms. The action is die (SIGKILL) or stop
//	                 (SIGSTOP). NTH is the time, counted from 1, that the process
//	                 reaches the point; DELAY is how long after that it acts.
package failpoint

// Point is a point in the processing of a request, named after the step before it.
type Point string

// The points in their order. With a DELAY, a test can also stop between two points.
const (
	Received  Point = "received"  // the message is in flight
	Claimed   Point = "claimed"   // the attempt is stored, or no record was found
	Answered  Point = "answered"  // the API has answered
	Resulted  Point = "resulted"  // the result is stored
	Scheduled Point = "scheduled" // the next step is stored
	Settled   Point = "settled"   // the message is acknowledged or returned
)

// Points returns all points, in their order.
func Points() []Point { return []Point{Received, Claimed, Answered, Resulted, Scheduled, Settled} }
