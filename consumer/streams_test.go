package consumer

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

var settings = StreamSettings{Replicas: 1, ResultsMaxAge: 720 * time.Hour}

func (w *world) stream(name string) jetstream.StreamConfig {
	w.Helper()
	s, err := w.js.Stream(w.Context(), name)
	if err != nil {
		w.Fatal(err)
	}
	return s.CachedInfo().Config
}

func TestSetupMakesTheStreamsOfTheContract(t *testing.T) {
	w := newWorld(t)
	requests, results, later := w.stream(events.StreamRequests), w.stream(events.StreamResults), w.stream(events.StreamLater)
	for what, ok := range map[string]bool{
		"requests have a subject for each target": strings.Join(requests.Subjects, " ") == "deletions.requests.kv-user-context deletions.requests.sensay-knowledge-base",
		"requests are a work queue on file":       requests.Retention == jetstream.WorkQueuePolicy && requests.Storage == jetstream.FileStorage,
		"requests refuse rather than drop":        requests.Discard == jetstream.DiscardNew && requests.DenyDelete && requests.DenyPurge,
		"requests are deduplicated for 10 min":    requests.Duplicates == 10*time.Minute,
		"results are kept for their age":          results.Retention == jetstream.LimitsPolicy && results.MaxAge == 720*time.Hour,
		"results refuse rather than drop":         results.Discard == jetstream.DiscardNew && results.DenyDelete && results.DenyPurge,
		"results can be read from any replica":    results.AllowDirect,
		"later has schedules and no limits":       later.AllowMsgSchedules && later.MaxMsgs <= 0 && later.MaxBytes <= 0 && later.MaxAge == 0,
		"later is a work queue on file":           later.Retention == jetstream.WorkQueuePolicy && later.Storage == jetstream.FileStorage,
	} {
		if !ok {
			t.Errorf("not so: %s", what)
		}
	}
	if err := Check(t.Context(), w.js, 0, events.Targets()...); err != nil {
		t.Errorf("what was set up does not pass its own check: %v", err)
	}
	if _, err := w.js.Publish(t.Context(), "deletions.requests.other-api", nil); err == nil {
		t.Error("a request for an unknown target was taken")
	}
}

func TestSetupAgainLosesNothingThatAnOperatorChose(t *testing.T) {
	w := newWorld(t)
	config := w.stream(events.StreamRequests)
	config.MaxMsgs = 1000
	if _, err := w.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := Setup(t.Context(), w.js, StreamSettings{Replicas: 1, ResultsMaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if got := w.stream(events.StreamRequests).MaxMsgs; got != 1000 {
		t.Errorf("the operator's limit became %d", got)
	}
	if got := w.stream(events.StreamResults).MaxAge; got != 720*time.Hour {
		t.Errorf("results are kept for %v only", got)
	}
}

func TestWhatCouldLoseARequestIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		stream  string
		spoil   func(*jetstream.StreamConfig)
		setting string
	}{
		"requests that grow old":           {events.StreamRequests, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		"requests pushed out":              {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, 10 }, "discard old"},
		"requests pushed out by bytes":     {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes = jetstream.DiscardOld, 1<<20 }, "discard old"},
		"requests in memory":               {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage"},
		"requests kept by interest":        {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention"},
		"requests that expire singly":      {events.StreamRequests, func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, "allow_msg_ttl"},
		"requests that can be wiped":       {events.StreamRequests, func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }, "allow_rollup"},
		"one request a subject":            {events.StreamRequests, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject"},
		"results in memory":                {events.StreamResults, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage"},
		"results pushed out":               {events.StreamResults, func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, 10 }, "discard old"},
		"results that go once consumed":    {events.StreamResults, func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention"},
		"requests that are not stored yet": {events.StreamRequests, func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, "persist_mode"},
		"requests nobody hears of":         {events.StreamRequests, func(c *jetstream.StreamConfig) { c.NoAck = true }, "no_ack"},
		"results that do not fit":          {events.StreamResults, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, "max_msg_size"},
		"markers among the results": {events.StreamResults, func(c *jetstream.StreamConfig) {
			c.SubjectDeleteMarkerTTL, c.DenyPurge, c.AllowRollup = time.Hour, false, true
		}, "subject_delete_marker_ttl"},
		"schedules that are refused": {events.StreamLater, func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 }, "limit"},
		"schedules that grow old":    {events.StreamLater, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := bareWorld(t)
			config := map[string]func(StreamSettings) jetstream.StreamConfig{
				events.StreamRequests: requestsStream, events.StreamResults: resultsStream, events.StreamLater: laterStream,
			}[c.stream](settings)
			c.spoil(&config)
			if _, err := w.js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			err := Setup(t.Context(), w.js, settings)
			var problem *Problem
			if !errors.As(err, &problem) || problem.Stream != c.stream || !strings.Contains(problem.Error(), c.setting) {
				t.Errorf("setup says %v", err)
			}
		})
	}
}

func TestAConsumerThatLosesOrHidesMessagesIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(*jetstream.ConsumerConfig)
		setting string
	}{
		"messages given up":        {func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 }, "max_deliver 5"},
		"messages without bodies":  {func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true }, "headers_only"},
		"messages at their pace":   {func(c *jetstream.ConsumerConfig) { c.ReplayPolicy = jetstream.ReplayOriginalPolicy }, "replay_policy"},
		"messages given to others": {func(c *jetstream.ConsumerConfig) { c.AckWait = time.Second }, "ack_wait"},
		"and after other waits":    {func(c *jetstream.ConsumerConfig) { c.BackOff = []time.Duration{time.Second} }, "backoff"},
		"one message at a time":    {func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 1 }, "max_ack_pending"},
		"small pulls":              {func(c *jetstream.ConsumerConfig) { c.MaxRequestBatch = 1 }, "max_batch"},
		"for a while":              {func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Hour }, "inactive_threshold"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if err := w.js.DeleteConsumer(t.Context(), events.StreamRequests, string(kvTarget)); err != nil {
				t.Fatal(err)
			}
			config := laneConsumer(events.StreamRequests, kvTarget)
			c.spoil(&config)
			if _, err := w.js.CreateConsumer(t.Context(), events.StreamRequests, config); err != nil {
				t.Fatal(err)
			}
			err := Check(t.Context(), w.js, 0, kvTarget)
			var problem *Problem
			if !errors.As(err, &problem) || problem.Consumer != string(kvTarget) || !strings.Contains(problem.Setting, c.setting) {
				t.Errorf("the check says %v", err)
			}
		})
	}
}

// Settings may change while a lane runs.
func TestAConsumerThatGivesUpMessagesHoldsTheLane(t *testing.T) {
	w := newWorld(t)
	api := script(answerDeleted)
	lane, _ := w.run(w.config(kvTarget, api))
	w.until("the lane runs", func() bool { return lane.State().Status == StatusRunning })
	config := laneConsumer(events.StreamRequests, kvTarget)
	config.MaxDeliver = 5
	if _, err := w.js.UpdateConsumer(t.Context(), events.StreamRequests, config); err != nil {
		t.Fatal(err)
	}
	if lane.look(t.Context()) || lane.State().Status != StatusHeld {
		t.Errorf("the lane is %+v", lane.State())
	}
	if err := Setup(t.Context(), w.js, settings); err != nil {
		t.Fatal(err)
	}
	lane.look(t.Context())
	w.until("the lane goes on", func() bool { return lane.State().Status == StatusRunning })
	r := contexts(1)
	w.publish(r)
	w.final(kvTarget, r.ID)
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	w := bareWorld(t)
	var problem *Problem
	if err := Check(t.Context(), w.js, 0, events.Targets()...); !errors.As(err, &problem) || problem.Stream != events.StreamRequests {
		t.Errorf("the check says %v", err)
	}
	if err := Setup(t.Context(), w.js, settings); err != nil {
		t.Fatal(err)
	}
	if err := w.js.DeleteConsumer(t.Context(), events.StreamLater, string(kvTarget)); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), w.js, 0, events.Targets()...); !errors.As(err, &problem) || problem.Consumer != string(kvTarget) || problem.Setting != "missing" {
		t.Errorf("the check says %v", err)
	}
}
