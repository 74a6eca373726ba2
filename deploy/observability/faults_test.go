package observability

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

// alerts are those that fire, such as "LetheLaneFailing kv-user-context", sorted. One that is pending counts too: at
// this pace it fires at once, or it is about another fault.
func (s *stack) alerts() ([]string, error) {
	var answer struct {
		Data struct {
			Alerts []struct {
				State               string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := s.ask("/api/v1/alerts", &answer); err != nil {
		return nil, err
	}
	all := []string{}
	for _, a := range answer.Data.Alerts {
		name := strings.TrimSpace(a.Labels["alertname"] + " " + a.Labels["lethe_target"] + a.Labels["lethe_stream"])
		if a.State != "firing" {
			name += " " + a.State
		}
		for _, text := range a.Annotations {
			if strings.Contains(text, "<error") || strings.Contains(text, "<no value>") {
				s.Errorf("%s says %q", name, text)
			}
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all, nil
}

// evaluated is when Prometheus evaluated the alerts last.
func (s *stack) evaluated() (time.Time, error) {
	var answer struct {
		Data struct {
			Groups []struct {
				Name           string
				LastEvaluation time.Time
			}
		}
	}
	if err := s.ask("/api/v1/rules?type=alert", &answer); err != nil {
		return time.Time{}, err
	}
	for _, g := range answer.Data.Groups {
		if g.Name == "lethe" {
			return g.LastEvaluation, nil
		}
	}
	return time.Time{}, errors.New("there is no group lethe")
}

// fire waits until these alerts fire and no others, for some evaluations in a row: another that the same fault
// fires would be pending by then.
func (s *stack) fire(want ...string) {
	s.Helper()
	var before time.Time
	var got []string
	same := 0
	s.until(fmt.Sprintf("%q fire", want), func() error {
		at, err := s.evaluated()
		if err == nil && !at.Equal(before) {
			before = at
			if got, err = s.alerts(); slices.Equal(got, want) {
				same++
			} else {
				same = 0
			}
		}
		if err != nil || same < 5 {
			return errors.Join(err, fmt.Errorf("%q do, in %d evaluations in a row as wanted", got, same))
		}
		return nil
	})
}

func contexts(ids ...int64) (all []events.Resource) {
	for _, id := range ids {
		all = append(all, events.UserContexts{IDs: []int64{id}})
	}
	return all
}

func knowledge(ids ...int64) (all []events.Resource) {
	for _, id := range ids {
		all = append(all, events.KnowledgeBaseEntry{ReplicaUUID: uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"), KnowledgeBaseID: id})
	}
	return all
}

func TestAFaultFiresTheAlertsThatNameItAndNoOthers(t *testing.T) {
	t.Parallel()
	path := program(t, "prometheus")
	s := newStack(t)
	s.prometheus(path)
	s.publish(contexts(1)...)
	s.fire()
	var pause *e2e.Process

	for _, fault := range []struct {
		name         string
		inject, heal func()
		want         []string
	}{
		{"the credential of one API is refused", func() {
			s.faults(`{"kv":{"reject":401}}`)
			s.publish(contexts(11, 12, 13)...)
		}, func() { s.faults("") }, []string{"LetheLaneSuspended kv-user-context"}},
		{"the other API fails", func() {
			s.faults(`{"sensay":{"chances":{"503":1}}}`)
			s.publish(knowledge(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)...)
		}, func() { s.faults("") }, []string{"LetheLaneFailing sensay-knowledge-base"}},
		{"results are full", func() {
			s.limitResults(1)
			s.publish(contexts(21)...)
		}, func() { s.limitResults(-1) }, []string{"LetheLaneBlocked kv-user-context"}},
		{"a stream is deleted", func() {
			if err := s.js.DeleteStream(t.Context(), events.StreamLater); err != nil {
				t.Fatal(err)
			}
		}, func() { s.run("setup") }, []string{"LetheLaneBlocked kv-user-context", "LetheLaneBlocked sensay-knowledge-base"}},
		{"a person pauses a lane", func() {
			pause = s.start("pause", s.lethe, "pause", "kv-user-context", "--reason", "a test")
		}, func() {
			pause.Kill() // it waits for calls, and the pause is stored
			s.run("resume", "kv-user-context")
		}, []string{"LetheLanePaused kv-user-context"}},
		{"the only worker is killed", s.worker.Kill, func() {
			if err := s.worker.Start(); err != nil {
				t.Fatal(err)
			}
			s.ready()
		}, []string{"LetheNoWorker"}},
		{"a publisher is broken", func() { // the last one: it stays for ten minutes
			for range 30 {
				if _, err := s.js.Publish(t.Context(), events.RequestSubject(events.KVUserContext), []byte("{}")); err != nil {
					t.Fatal(err)
				}
			}
		}, nil, []string{"LetheInvalidSpike kv-user-context"}},
	} {
		ok := t.Run(fault.name, func(t *testing.T) {
			s.T = t
			fault.inject()
			s.fire(fault.want...)
			if fault.heal != nil {
				fault.heal()
				s.fire()
			}
		})
		if s.T = t; !ok {
			return // what a fault left behind would confuse the next
		}
	}
}
