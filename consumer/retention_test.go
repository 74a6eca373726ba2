package consumer

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// If a result expires while its request is open, a second final result can be stored.
func TestAStreamThatKeepsResultsTooShortIsRefused(t *testing.T) {
	const least = 240 * time.Hour
	env := newEnvironment(t)
	settings := streams.Settings{Replicas: 1, ResultsMaxAge: 720 * time.Hour, ResultsMinAge: least}
	setAge := func(age time.Duration) {
		t.Helper()
		config := env.stream(events.StreamResults)
		config.MaxAge = age
		if _, err := env.js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		age     time.Duration
		refused bool
	}{
		{"a moment too short", least - 1, true},
		{"the shortest", least, false},
		{"forever", 0, false},
	} {
		for _, command := range []struct {
			name string
			run  func() error
		}{
			{"Check", func() error { return streams.Check(t.Context(), env.js, least, events.Targets()...) }},
			{"Setup", func() error { return streams.Setup(t.Context(), env.js, settings) }},
		} {
			setAge(c.age)
			err := command.run()
			var problem *streams.Problem
			if refused := errors.As(err, &problem); refused != c.refused || err != nil && !refused {
				t.Errorf("%s: %s returned %v", c.name, command.name, err)
			}
			if c.refused && (problem.Stream != events.StreamResults || !strings.Contains(problem.Setting, "max_age") || !strings.Contains(problem.Why, "240h")) {
				t.Errorf("%s: %v does not name the setting and the fix", command.name, problem)
			}
		}
	}

	config := env.config(kvTarget, answering(answerDeleted))
	config.ResultsMinAge = least
	setAge(least - 1)
	lane := New(env.js, config)
	if lane.check(t.Context()) || !strings.Contains(lane.State().Reason, "max_age") {
		t.Errorf("the lane is %+v", lane.State())
	}
}
