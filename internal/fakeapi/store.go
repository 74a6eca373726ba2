package fakeapi

import (
	"errors"
	"fmt"
	"time"
)

// store contains the state of every entry of one API that a call has named or SetEntry has set.
type store struct {
	entries      map[key]record
	max          int
	unknownShare float64
	rng          rng
}

// record is small because a store can contain a million of them.
type record struct {
	state   uint8 // one of the kept constants
	calls   uint32
	deleted uint64 // the number of the call that deleted it; 0 when that was SetEntry
	gone    int64  // when its removal is complete, in Unix nanoseconds
}

const (
	keptPresent uint8 = iota
	keptUnknown
	keptRemoved // removal has begun; it is complete at the time "gone"
)

// State is the state of an entry.
type State string

// The states of an entry.
const (
	StatePresent State = "present" // can be deleted
	StatePending State = "pending" // removal has begun (Sensay's 202) and is not complete
	StateDeleted State = "deleted" // removed
	StateUnknown State = "unknown" // never existed
)

// Deletion is one entry that a call deleted.
type Deletion struct {
	Entry   Entry     `json:"entry"`
	Call    uint64    `json:"call"`             // the number of the call that did it
	At      time.Time `json:"at"`               // when the removal is complete
	Pending bool      `json:"pending,omitzero"` // At is in the future
}

var errFull = errors.New("too many entries: raise MaxEntries (--max-entries)")

// find returns the entry's record, or the initial one of an entry that no call has named yet.
func (s *store) find(k key) record {
	if r, ok := s.entries[k]; ok {
		return r
	}
	if s.unknownShare > 0 && s.rng.draw(k, drawUnknown, 0) < s.unknownShare {
		return record{state: keptUnknown}
	}
	return record{}
}

func (s *store) state(k key, now time.Time) State { return s.find(k).stateAt(now) }

func (r record) stateAt(now time.Time) State {
	switch {
	case r.state == keptUnknown:
		return StateUnknown
	case r.state == keptPresent:
		return StatePresent
	case now.UnixNano() < r.gone:
		return StatePending
	}
	return StateDeleted
}

// hasRoom reports whether the store has or can add all the keys.
func (s *store) hasRoom(keys []key) bool {
	if len(s.entries)+len(keys) <= s.max {
		return true
	}
	added := make(map[key]bool)
	for _, k := range keys {
		if _, ok := s.entries[k]; !ok {
			added[k] = true
		}
	}
	return len(s.entries)+len(added) <= s.max
}

// countCall counts a call that names k. It returns the number of earlier ones.
func (s *store) countCall(k key) uint32 {
	r := s.find(k)
	r.calls++
	s.entries[k] = r
	return r.calls - 1
}

// change is the removal of one entry, complete at a time that may be in the future.
type change struct {
	key  key
	gone time.Time
}

// apply carries out removals.
func (s *store) apply(changes []change, call *Call) {
	for _, c := range changes {
		r := s.find(c.key)
		r.state, r.deleted, r.gone = keptRemoved, call.Number, c.gone.UnixNano()
		s.entries[c.key] = r
	}
}

// restore repeats the removals of a call from the journal. The limit does not apply.
func (s *store) restore(call Call) {
	for _, e := range call.Deleted {
		s.apply([]change{{e.key(), call.Time}}, &call)
	}
	for _, e := range call.Pending {
		s.apply([]change{{e.key(), call.PendingUntil}}, &call)
	}
}

func (s *store) set(k key, state State, now time.Time, pendingFor time.Duration) error {
	if !s.hasRoom([]key{k}) {
		return errFull
	}
	r := s.find(k)
	r.deleted, r.gone = 0, now.UnixNano()
	switch state {
	case StatePresent:
		r.state = keptPresent
	case StateUnknown:
		r.state = keptUnknown
	case StateDeleted:
		r.state = keptRemoved
	case StatePending:
		r.state, r.gone = keptRemoved, now.Add(pendingFor).UnixNano()
	default:
		return fmt.Errorf("unknown state %q", state)
	}
	s.entries[k] = r
	return nil
}

// deletions lists the entries that calls have deleted, in any order.
func (s *store) deletions(api API, now time.Time) []Deletion {
	var list []Deletion
	for k, r := range s.entries {
		if r.state == keptRemoved && r.deleted != 0 {
			at := time.Unix(0, r.gone).UTC()
			list = append(list, Deletion{k.entry(api), r.deleted, at, r.stateAt(now) == StatePending})
		}
	}
	return list
}
