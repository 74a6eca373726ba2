package consumer

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

var settings = streams.Settings{Replicas: 1, ResultsMaxAge: 720 * time.Hour}

func (env *environment) stream(name string) jetstream.StreamConfig {
	env.Helper()
	s, err := env.js.Stream(env.Context(), name)
	if err != nil {
		env.Fatal(err)
	}
	return s.CachedInfo().Config
}

func streamNames() []string {
	return []string{events.StreamRequests, events.StreamResults, events.StreamLater, streams.Control}
}

// laneConsumers names the consumers of all lanes, by stream.
func laneConsumers() map[string][]events.Target {
	return map[string][]events.Target{events.StreamRequests: events.Targets(), events.StreamLater: events.Targets()}
}

// minLaterBytes is the smallest limit that DELETION_LATER may have.
const minLaterBytes = 256 << 20

func TestALaneThatStartsWithoutAStreamWaitsForIt(t *testing.T) {
	env := newEnvironment(t)
	if err := env.js.DeleteStream(t.Context(), events.StreamLater); err != nil {
		t.Fatal(err)
	}
	lane, _ := env.run(env.config(kvTarget, answering(answerDeleted)))
	env.until("the lane is blocked", func() bool {
		return lane.State().Status == StatusBlocked && strings.Contains(lane.State().Reason, events.StreamLater)
	})
	if err := streams.Setup(t.Context(), env.js, settings); err != nil {
		t.Fatal(err)
	}
	r := contexts(1)
	env.publish(r)
	env.final(kvTarget, r.ID)
}

// Settings may change while a lane runs.
func TestAConsumerThatDropsMessagesBlocksTheLane(t *testing.T) {
	env := newEnvironment(t)
	api := answering(answerDeleted)
	lane, _ := env.run(env.config(kvTarget, api))
	env.until("the lane runs", func() bool { return lane.State().Status == StatusRunning })
	config := streams.LaneConsumer(events.StreamRequests, kvTarget)
	config.MaxDeliver = 5
	if _, err := env.js.UpdateConsumer(t.Context(), events.StreamRequests, config); err != nil {
		t.Fatal(err)
	}
	if lane.check(t.Context()) || lane.State().Status != StatusBlocked {
		t.Errorf("the lane is %+v", lane.State())
	}
	if err := streams.Setup(t.Context(), env.js, settings); err != nil {
		t.Fatal(err)
	}
	lane.check(t.Context())
	env.until("the lane resumes", func() bool { return lane.State().Status == StatusRunning })
	r := contexts(1)
	env.publish(r)
	env.final(kvTarget, r.ID)
}

// A lane refuses what [streams.Check] refuses. Package streams tests each setting.
func TestAnUnsafeStreamBlocksTheLane(t *testing.T) {
	env := newEnvironment(t)
	config := env.stream(events.StreamRequests)
	config.MaxAge = time.Hour
	if _, err := env.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	lane := New(env.js, env.config(kvTarget, nil))
	if healthy := lane.check(t.Context()); healthy || lane.State().Status != StatusBlocked || !strings.Contains(lane.State().Reason, "max_age") {
		t.Errorf("healthy: %v, the lane is %+v", healthy, lane.State())
	}
}

func TestALaneRunsAgainAfterSetupCreatesAMissingStream(t *testing.T) {
	t.Parallel()
	for _, stream := range streamNames() {
		t.Run(stream, func(t *testing.T) {
			env := newEnvironment(t)
			lane, _ := env.run(env.config(kvTarget, answering(answerDeleted)))
			env.until("the lane runs", func() bool { return lane.State().Status == StatusRunning })
			if err := env.js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
			env.until("the lane is blocked", func() bool { return !lane.check(t.Context()) && lane.State().Status == StatusBlocked })
			if err := streams.Setup(t.Context(), env.js, settings); err != nil {
				t.Fatal(err)
			}
			lane.check(t.Context())
			r := contexts(1)
			env.publish(r)
			env.final(kvTarget, r.ID)
		})
	}
}
