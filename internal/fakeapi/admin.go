package fakeapi

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// SetFaults replaces an API's faults. The rate limit starts with a full burst.
func (s *Server) SetFaults(api API, f Faults) error {
	if !api.known() {
		return fmt.Errorf("unknown API %q", api)
	}
	if err := f.Validate(api); err != nil {
		return err
	}
	f.Chances = maps.Clone(f.Chances)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apis[api].setFaults(f)
	return nil
}

// Faults returns each API's faults.
func (s *Server) Faults() map[API]Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[API]Faults)
	for api, fake := range s.apis {
		all[api] = fake.faults
		f := all[api]
		f.Chances = maps.Clone(f.Chances)
		all[api] = f
	}
	return all
}

// Script replaces an entry's script, the answers to its next deletion calls. Without steps the entry has no script. A
// k-v.ai call takes one step of every entry in its list; the first fault for the whole call applies. Calls refused for
// another reason (rate, credential, form) take no step.
func (s *Server) Script(e Entry, steps ...Step) error {
	if err := e.validate(); err != nil {
		return err
	}
	states, err := newSteps(e.API, steps)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fake := s.apis[e.API]
	if len(states) == 0 {
		delete(fake.scripts, e.key())
		return nil
	}
	if _, ok := fake.scripts[e.key()]; !ok && len(fake.scripts) >= fake.store.max {
		return errFull
	}
	fake.scripts[e.key()] = states
	return nil
}

// Scripts returns the rest of every script.
func (s *Server) Scripts() map[Entry][]Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[Entry][]Step)
	for api, fake := range s.apis {
		for k := range fake.scripts {
			all[k.entry(api)] = fake.scripts.steps(k)
		}
	}
	return all
}

// ClearScripts removes every script.
func (s *Server) ClearScripts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fake := range s.apis {
		clear(fake.scripts)
	}
}

// SetEntry sets the state of an entry. It is not a call: neither the call log nor [Server.Deleted] has it. The removal
// of a pending entry is complete after [Config].PendingFor.
func (s *Server) SetEntry(e Entry, state State) error {
	if err := e.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fake := s.apis[e.API]
	return fake.store.set(e.key(), state, time.Now(), fake.pendingFor)
}

// Entry returns the state of an entry.
func (s *Server) Entry(e Entry) (State, error) {
	if err := e.validate(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apis[e.API].store.state(e.key(), time.Now()), nil
}

// Calls returns the newest calls, at most [Config].MaxCalls of them, oldest first.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls.list()
}

// ResetCalls clears the call log and the counts. Deleted entries stay deleted, and call numbers continue.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls.clear()
	for _, fake := range s.apis {
		fake.stats.clear()
	}
}

// Deleted returns every entry that a call deleted or began to delete, in the order of the calls. It is complete even
// if the call log is not.
func (s *Server) Deleted() []Deletion {
	s.mu.Lock()
	now := time.Now()
	list := []Deletion{}
	for _, api := range APIs() {
		list = append(list, s.apis[api].store.deletions(api, now)...)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b Deletion) int {
		return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Entry.ID, b.Entry.ID))
	})
	return list
}

// Stats returns each API's counts.
func (s *Server) Stats() map[API]Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[API]Stats)
	for api, fake := range s.apis {
		stats := fake.stats.snapshot()
		stats.Entries = len(fake.store.entries)
		all[api] = stats
	}
	return all
}
