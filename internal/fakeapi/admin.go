package fakeapi

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// SetFaults puts an API's trouble in place of what it had. The rate limit starts anew.
func (s *Server) SetFaults(api API, f Faults) error {
	if !api.known() {
		return fmt.Errorf("no API is called %q", api)
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

// Faults returns each API's trouble.
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

// Script says how the next calls to delete an entry are answered, in place of what was left of its script; without steps
// the entry has none. A k-v.ai call uses up one step of every entry in its list, and the first of them that has a fault
// for the whole call decides. Calls that are refused for other reasons (rate, credential, form) use up nothing.
func (s *Server) Script(e Entry, steps ...Step) error {
	if err := e.validate(); err != nil {
		return err
	}
	plans, err := newPlans(e.API, steps)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fake := s.apis[e.API]
	if len(plans) == 0 {
		delete(fake.scripts, e.key())
		return nil
	}
	if _, ok := fake.scripts[e.key()]; !ok && len(fake.scripts) >= fake.store.max {
		return errFull
	}
	fake.scripts[e.key()] = plans
	return nil
}

// Scripts returns what is left of every script.
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

// SetEntry says what is true of an entry from now on. This is no call: it is neither recorded nor listed by
// [Server.Deleted]. A pending entry is gone after [Config].PendingFor.
func (s *Server) SetEntry(e Entry, state State) error {
	if err := e.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fake := s.apis[e.API]
	return fake.store.set(e.key(), state, time.Now(), fake.pendingFor)
}

// Entry returns what is true of an entry. It does not count as naming it.
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

// ResetCalls empties the record and the counts. What is deleted stays deleted, and numbers go on.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls.clear()
	for _, fake := range s.apis {
		fake.stats.clear()
	}
}

// Deleted returns every entry that a call deleted, or began to, in the order of those calls. It is complete even where
// the record is not.
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
