package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// judge finds the problems in what was read. maxAge is how long results are kept.
func (s *status) judge(maxAge time.Duration) {
	if len(s.Workers) == 0 {
		s.Problems = append(s.Problems, statusProblem{
			About: "workers", Reason: "no worker answered, so no request is processed", Fix: "start a worker with `lethe run`, or read its log",
		})
	}
	slices.SortFunc(s.Workers, func(a, b workerStats) int { return strings.Compare(a.Instance, b.Instance) })
	for i := range s.Lanes {
		l := &s.Lanes[i]
		s.judgeLane(l)
		if l.Failed != nil && *l.Failed > 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("lane %s: failed results that are kept: %d; `lethe failed list --target %s` shows why, `lethe failed replay` retries them", l.Target, *l.Failed, l.Target))
		}
		if l.Oldest != nil && maxAge > 0 && time.Since(*l.Oldest) > maxAge/2 {
			s.Problems = append(s.Problems, statusProblem{
				About: "lane " + string(l.Target), Reason: fmt.Sprintf("the oldest request is older than half of %s, the time that results are kept", maxAge), Since: *l.Oldest,
				Fix: fmt.Sprintf("let the lane work again, or keep results for longer: `nats stream edit %s --max-age`", events.StreamResults),
			})
		}
	}
	for _, st := range s.Streams {
		if st.percent() >= nearlyFull || st.Name == events.StreamLater && st.percent() >= streams.LaterFullAt {
			s.Problems = append(s.Problems, statusProblem{
				About: "stream " + st.Name, Reason: fmt.Sprintf("%d %% full", st.percent()), Fix: streams.RaiseLimit(st.Name),
			})
		}
	}
	s.Well = len(s.Problems) == 0
}

// judgeLane finds the state of a lane and its problems in the reports of the workers.
func (s *status) judgeLane(l *laneStatus) {
	counts := map[consumer.Status]int{}
	found := map[problemKey]*statusProblem{}
	var keys []problemKey // in the order of the reports
	for _, w := range s.Workers {
		for _, lane := range w.Lanes {
			if lane.Target != l.Target || lane.Status == "" {
				continue
			}
			counts[lane.Status]++
			for i, p := range lane.Problems() {
				if i == 0 && l.Reason == "" {
					l.Reason = p.Reason
				}
				key := keyOf(p)
				if found[key] == nil {
					found[key] = &statusProblem{About: "lane " + string(l.Target), State: p.Status, Reason: p.Reason, Since: p.Since, Fix: p.Fix}
					keys = append(keys, key)
				}
				f := found[key]
				f.Workers = append(f.Workers, w.Instance)
				f.ReasonsDiffer = f.ReasonsDiffer || p.Reason != f.Reason
				if p.Since.Before(f.Since) {
					f.Since = p.Since
				}
			}
		}
	}
	if len(counts) > 1 && counts[consumer.StatusOff] > 0 { // other workers serve the lane
		delete(counts, consumer.StatusOff)
		if found[notListed] != nil && l.Reason == found[notListed].Reason {
			l.Reason = ""
		}
		delete(found, notListed)
		delete(found, noCredential)
	}
	l.State = stateOf(counts)
	if len(counts) == 1 && counts[consumer.StatusOff] > 0 && found[noCredential] == nil && (l.Waiting == nil || *l.Waiting == 0) {
		delete(found, notListed) // a choice, and no request waits
	}
	for _, key := range keys {
		if p := found[key]; p != nil {
			s.Problems = append(s.Problems, *p)
		}
	}
}

// problemKey identifies a problem of a lane that several workers report.
type problemKey struct {
	code   consumer.Code
	reason string // where a worker can have several problems with this code
}

var notListed, noCredential = problemKey{code: consumer.CodeNotListed}, problemKey{code: consumer.CodeNoCredential}

func keyOf(p consumer.Problem) problemKey {
	switch p.Code {
	case consumer.CodeUnsafeSetting, consumer.CodeNotStored, consumer.CodeNotFetched:
		return problemKey{p.Code, p.Reason} // each names its stream
	default:
		return problemKey{code: p.Code}
	}
}

// stateOf is the state of a lane, from the number of workers that report each state.
func stateOf(counts map[consumer.Status]int) string {
	switch len(counts) {
	case 0:
		return "no worker"
	case 1:
		for state := range maps.Keys(counts) {
			return string(state)
		}
	}
	var parts []string
	for _, state := range consumer.Statuses() {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(parts, ", ")
}
