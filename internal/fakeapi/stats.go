package fakeapi

import (
	"maps"
	"sync/atomic"
)

// Stats counts one API's calls since the start, or since [Server.ResetCalls].
type Stats struct {
	// Calls is the number of calls that took effect. It includes those below.
	Calls uint64 `json:"calls"`
	// Deletions is the number of well-formed deletion calls.
	Deletions uint64 `json:"deletions"`
	// Unauthenticated is the number of calls without the correct credential, or refused before the credential check.
	Unauthenticated uint64 `json:"unauthenticated"`
	// Cut is the number of calls without a complete answer.
	Cut uint64 `json:"cut"`
	// WithoutTrace is the number of calls without trace context.
	WithoutTrace uint64 `json:"without_trace"`
	// Statuses counts answers by status; 0: no answer.
	Statuses map[int]uint64 `json:"statuses"`
	// Faults counts calls by fault.
	Faults map[Fault]uint64 `json:"faults"`

	// Deleted and Pending count the entries that calls removed or began to remove.
	Deleted uint64 `json:"deleted"`
	Pending uint64 `json:"pending"`
	// Entries is the number of entries in the store.
	Entries int `json:"entries"`

	// InFlight is the number of calls now, MaxInFlight its highest value.
	InFlight    int64 `json:"in_flight"`
	MaxInFlight int64 `json:"max_in_flight"`
}

// counters counts for Stats. The server's mutex guards all but the two atomics.
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

// clear resets the counts except the calls in flight.
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
