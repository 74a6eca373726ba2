package streams

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// The server does not create streams with these settings, but another version may
// report one.
func TestAnUnusableStreamIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		stream  string
		change  func(*jetstream.StreamConfig)
		setting string
	}{
		"sealed":            {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Sealed = true }, "sealed"},
		"without schedules": {events.StreamLater, func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = false }, "allow_msg_schedules"},
	} {
		config := map[string]jetstream.StreamConfig{events.StreamRequests: requestsStream(Settings{}), events.StreamLater: laterStream(Settings{})}[c.stream]
		c.change(&config)
		var problem *Problem
		if err := checkStream(config); !errors.As(err, &problem) || !strings.Contains(problem.Setting, c.setting) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestForeverIsTheLongestAge(t *testing.T) {
	for _, c := range []struct{ have, want, merged time.Duration }{
		{0, 720 * time.Hour, 0},
		{720 * time.Hour, 0, 0},
		{0, 0, 0},
		{240 * time.Hour, 720 * time.Hour, 720 * time.Hour},
		{1440 * time.Hour, 720 * time.Hour, 1440 * time.Hour},
	} {
		got := merged(jetstream.StreamConfig{MaxAge: c.have}, jetstream.StreamConfig{MaxAge: c.want}).MaxAge
		if got != c.merged {
			t.Errorf("%s and %s give %s, want %s", c.have, c.want, got, c.merged)
		}
	}
}
