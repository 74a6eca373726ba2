package streams

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

var settings = Settings{Replicas: 1, ResultsMaxAge: 720 * time.Hour}

// emptyServer returns a server without streams.
func emptyServer(t *testing.T) jetstream.JetStream {
	t.Helper()
	_, js := e2e.Serve(t, e2e.ServerConfig{Dir: filepath.Join(t.TempDir(), "js")})
	return js
}

func TestSetupCreatesTheStreamsOfTheContract(t *testing.T) {
	t.Parallel()
	js := installed(t)
	requests, results, later := config(t, js, events.StreamRequests), config(t, js, events.StreamResults), config(t, js, events.StreamLater)
	for what, ok := range map[string]bool{
		"requests have a subject for each target": strings.Join(requests.Subjects, " ") == "deletions.requests.kv-user-context deletions.requests.sensay-knowledge-base",
		"requests are a work queue on file":       requests.Retention == jetstream.WorkQueuePolicy && requests.Storage == jetstream.FileStorage,
		"requests refuse rather than drop":        requests.Discard == jetstream.DiscardNew && requests.DenyDelete && requests.DenyPurge,
		"requests are deduplicated for 10 min":    requests.Duplicates == 10*time.Minute,
		"results are stored for their age":        results.Retention == jetstream.LimitsPolicy && results.MaxAge == 720*time.Hour,
		"results refuse rather than drop":         results.Discard == jetstream.DiscardNew && results.DenyDelete && results.DenyPurge,
		"results can be read from any replica":    results.AllowDirect,
		"later has schedules and no limits":       later.AllowMsgSchedules && later.MaxMsgs <= 0 && later.MaxBytes <= 0 && later.MaxAge == 0,
		"later is a work queue on file":           later.Retention == jetstream.WorkQueuePolicy && later.Storage == jetstream.FileStorage,
	} {
		if !ok {
			t.Errorf("false: %s", what)
		}
	}
	if err := Check(t.Context(), js, 0, events.Targets()...); err != nil {
		t.Errorf("the streams that setup created do not pass the check: %v", err)
	}
	if _, err := js.Publish(t.Context(), "deletions.requests.other-api", nil); err == nil {
		t.Error("a request for an unknown target was accepted")
	}
}

func TestASecondSetupKeepsTheOperatorsSettings(t *testing.T) {
	t.Parallel()
	js := installed(t)
	requests := config(t, js, events.StreamRequests)
	requests.MaxMsgs = 1000
	if _, err := js.UpdateStream(t.Context(), requests); err != nil {
		t.Fatal(err)
	}
	if err := Setup(t.Context(), js, Settings{Replicas: 1, ResultsMaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if got := config(t, js, events.StreamRequests).MaxMsgs; got != 1000 {
		t.Errorf("the operator's limit became %d", got)
	}
	if got := config(t, js, events.StreamResults).MaxAge; got != 720*time.Hour {
		t.Errorf("results are stored for %v only", got)
	}
}

// laneConsumers names the consumers of all lanes, by stream.
var laneConsumers = map[string][]events.Target{events.StreamRequests: events.Targets(), events.StreamLater: events.Targets()}

func TestSetupKeepsTheOperatorsConsumerSettings(t *testing.T) {
	t.Parallel()
	js := installed(t)
	for stream, targets := range laneConsumers {
		for _, target := range targets {
			config := LaneConsumer(stream, target)
			config.AckWait, config.MaxAckPending = 17*time.Second, 1000
			if _, err := js.UpdateConsumer(t.Context(), stream, config); err != nil {
				t.Fatal(err)
			}
			config.MaxDeliver = 5 // setup repairs this
			if _, err := js.UpdateConsumer(t.Context(), stream, config); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, setup := range map[string]func(context.Context, jetstream.JetStream, Settings) error{"setup": Setup, "start": Start} {
		if err := setup(t.Context(), js, settings); err != nil {
			t.Fatal(err)
		}
		for stream, targets := range laneConsumers {
			for _, target := range targets {
				consumer, err := js.Consumer(t.Context(), stream, string(target))
				if err != nil {
					t.Fatal(err)
				}
				if got := consumer.CachedInfo().Config; got.AckWait != 17*time.Second || got.MaxAckPending != 1000 || got.MaxDeliver != -1 {
					t.Errorf("after %s: ack_wait %s, max_ack_pending %d, max_deliver %d", name, got.AckWait, got.MaxAckPending, got.MaxDeliver)
				}
			}
		}
	}
}

func TestAWorkerCreatesAllStreamsWhereNoneExists(t *testing.T) {
	t.Parallel()
	js := emptyServer(t)
	var created []Created
	recording := settings
	recording.Created = func(c Created) { created = append(created, c) }
	if err := Start(t.Context(), js, recording); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), js, 0, events.Targets()...); err != nil {
		t.Error(err)
	}
	for _, c := range created {
		if c.Lost != "" {
			t.Errorf("it reports lost data: %+v", c)
		}
	}
	if len(created) != len(streamNames()) {
		t.Errorf("created %+v", created)
	}
}

// If one stream is missing and others exist, it may have contained data that is lost now.
func TestAMissingStreamIsCreatedBySetupAlone(t *testing.T) {
	t.Parallel()
	for _, stream := range streamNames() {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			js := installed(t)
			if err := js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, js, stream, "", "missing")
			var problem *Problem
			if err := Start(t.Context(), js, settings); !errors.As(err, &problem) || !problem.MissingBeside || problem.Stream != stream || !strings.Contains(problem.Why, "lost") {
				t.Errorf("a worker's start returned %v", err)
			}
			if _, err := js.Stream(t.Context(), stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Errorf("a worker's start created it: %v", err)
			}
			var created []Created
			recording := settings
			recording.Created = func(c Created) { created = append(created, c) }
			if err := Setup(t.Context(), js, recording); err != nil {
				t.Fatal(err)
			}
			if len(created) != 1 || created[0].Stream != stream || created[0].Lost == "" {
				t.Errorf("setup created %+v", created)
			}
			if first := config(t, js, stream).FirstSeq; first < 1<<50 {
				t.Errorf("its first sequence is %d, which the lost stream may have used", first)
			}
		})
	}
}

func TestMissingStreamsAndConsumersAreNamed(t *testing.T) {
	t.Parallel()
	js := emptyServer(t)
	var problem *Problem
	if err := Check(t.Context(), js, 0, events.Targets()...); !errors.As(err, &problem) || problem.Stream != events.StreamRequests {
		t.Errorf("the check returned %v", err)
	}
	if err := Setup(t.Context(), js, settings); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(t.Context(), events.StreamLater, string(events.KVUserContext)); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), js, 0, events.Targets()...); !errors.As(err, &problem) || problem.Consumer != string(events.KVUserContext) || problem.Setting != "missing" {
		t.Errorf("the check returned %v", err)
	}
}

// racingServer is a server on which another client creates streams right before Setup does.
type racingServer struct {
	jetstream.JetStream
	others []jetstream.StreamConfig
}

func (o *racingServer) CreateStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	for _, other := range o.others {
		if _, err := o.JetStream.CreateStream(ctx, other); err != nil {
			return nil, err
		}
	}
	o.others = nil
	return o.JetStream.CreateStream(ctx, c)
}

// A worker that starts during a setup finds some streams missing that exist a moment later.
func TestTwoSetupsAtTheSameTimeSucceed(t *testing.T) {
	t.Parallel()
	js := emptyServer(t)
	all := configs(t, js)
	if _, err := js.CreateStream(t.Context(), all[events.StreamRequests]); err != nil {
		t.Fatal(err)
	}
	racing := &racingServer{js, []jetstream.StreamConfig{all[events.StreamResults], all[events.StreamLater]}}
	if err := Setup(t.Context(), racing, settings); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), js, 0, events.Targets()...); err != nil {
		t.Error(err)
	}
}
