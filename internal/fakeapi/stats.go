package fakeapi

import (
	"maps"
	"sync/atomic"
)

// Stats counts one API's calls since the start, or since [Server.ResetCalls].
type Stats struct {
	// Calls is how many took effect. Those below are among them.
	Calls uint64 `json:"calls"`
	// Deletions is how many asked to delete and were well-formed.
	Deletions uint64 `json:"deletions"`
	// Unauthenticated is how many had no right credential, or were refused before anyone looked at it.
	Unauthenticated uint64 `json:"unauthenticated"`
	// Cut is how many did not get a whole answer.
	Cut uint64 `json:"cut"`
	// WithoutTrace is how many carried no trace context.
	WithoutTrace uint64 `json:"without_trace"`
	// Statuses counts answers by status; 0 stands for none.
	Statuses map[int]uint64 `json:"statuses"`
	// Faults counts calls that met a fault.
	Faults map[Fault]uint64 `json:"faults"`

	// Deleted and Pending count entries: removed by calls, and with their removal begun by calls.
	Deleted uint64 `json:"deleted"`
	Pending uint64 `json:"pending"`
	// Entries is how many entries are kept, those set by hand included.
	Entries int `json:"entries"`

	// InFlight is how many calls are being served now, and MaxInFlight the most that ever were at once.
	InFlight    int64 `json:"in_flight"`
	MaxInFlight int64 `json:"max_in_flight"`
}

// counters is Stats in the making. The sandbox's mutex guards all but the two atomics.
type counters struct {
	Stats
	inFlight, most *atomic.Int64
}

func newCounters() counters {
	return counters{
		Stats:    Stats{Statuses: make(map[int]uint64), Faults: make(map[Fault]uint64)},
		inFlight: new(atomic.Int64),
		most:     new(atomic.Int64),
	}
}

func (c *counters) count(call *Call) {
	c.Calls++
	c.Statuses[call.Status]++
	if call.Operation == Delete && len(call.Entries) > 0 {
		c.Deletions++
	}
	if !call.Authenticated {
		c.Unauthenticated++
	}
	if call.Cut {
		c.Cut++
	}
	if call.TraceParent == "" {
		c.WithoutTrace++
	}
	if call.Fault != "" {
		c.Faults[call.Fault]++
	}
	c.Deleted += uint64(len(call.Deleted))
	c.Pending += uint64(len(call.Pending))
}

func (c *counters) snapshot() Stats {
	s := c.Stats
	s.Statuses, s.Faults = maps.Clone(s.Statuses), maps.Clone(s.Faults)
	s.InFlight, s.MaxInFlight = c.inFlight.Load(), c.most.Load()
	return s
}

// clear starts again from nothing; calls that are being served stay counted as in flight.
func (c *counters) clear() {
	c.Stats = newCounters().Stats
	c.most.Store(c.inFlight.Load())
}

func (fake *fakeAPI) enter() {
	now := fake.stats.inFlight.Add(1)
	for {
		most := fake.stats.most.Load()
		if now <= most || fake.stats.most.CompareAndSwap(most, now) {
			return
		}
	}
}

func (fake *fakeAPI) leave() { fake.stats.inFlight.Add(-1) }
