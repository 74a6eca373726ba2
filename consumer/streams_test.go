package consumer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

func TestSetupCreatesTheStreamsOfTheContract(t *testing.T) {
	env := newEnvironment(t)
	requests, results, later := env.stream(events.StreamRequests), env.stream(events.StreamResults), env.stream(events.StreamLater)
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
	if err := streams.Check(t.Context(), env.js, 0, events.Targets()...); err != nil {
		t.Errorf("the streams that setup created do not pass the check: %v", err)
	}
	if _, err := env.js.Publish(t.Context(), "deletions.requests.other-api", nil); err == nil {
		t.Error("a request for an unknown target was accepted")
	}
}

func TestASecondSetupKeepsTheOperatorsSettings(t *testing.T) {
	env := newEnvironment(t)
	config := env.stream(events.StreamRequests)
	config.MaxMsgs = 1000
	if _, err := env.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := streams.Setup(t.Context(), env.js, streams.Settings{Replicas: 1, ResultsMaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if got := env.stream(events.StreamRequests).MaxMsgs; got != 1000 {
		t.Errorf("the operator's limit became %d", got)
	}
	if got := env.stream(events.StreamResults).MaxAge; got != 720*time.Hour {
		t.Errorf("results are stored for %v only", got)
	}
}

// unsafeStreams are settings that the server accepts and that break a guarantee.
func unsafeStreams() map[string]struct {
	stream  string
	change  func(*jetstream.StreamConfig)
	setting string
} {
	return map[string]struct {
		stream  string
		change  func(*jetstream.StreamConfig)
		setting string
	}{
		"requests that grow old":        {events.StreamRequests, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		"requests pushed out":           {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, 10 }, "discard old"},
		"requests pushed out by bytes":  {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes = jetstream.DiscardOld, 1<<20 }, "discard old"},
		"requests in memory":            {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage"},
		"requests retained by interest": {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention"},
		"requests retained by limits":   {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Retention = jetstream.LimitsPolicy }, "retention"},
		"requests that expire singly":   {events.StreamRequests, func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, "allow_msg_ttl"},
		"requests that can be wiped":    {events.StreamRequests, func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }, "allow_rollup"},
		"requests that can be scheduled": {events.StreamRequests, func(c *jetstream.StreamConfig) {
			c.AllowMsgSchedules, c.AllowRollup, c.DenyPurge, c.Discard = true, true, false, jetstream.DiscardOld
		}, "allow_rollup"},
		"one request a subject":            {events.StreamRequests, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject"},
		"requests of any target":           {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Subjects = []string{"deletions.requests.>"} }, "subject deletions.requests.>"},
		"requests of an unknown target":    {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "deletions.requests.other") }, "subject deletions.requests.other"},
		"requests that are not stored yet": {events.StreamRequests, func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, "persist_mode"},
		"requests without acknowledgement": {events.StreamRequests, func(c *jetstream.StreamConfig) { c.NoAck = true }, "no_ack"},
		"requests moved elsewhere": {events.StreamRequests, func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "deletions.requests.*", Destination: "elsewhere.{{wildcard(1)}}"}
		}, "subject_transform"},
		"requests of another stream": {events.StreamRequests, func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} }, "sources"},
		"a copy of another stream": {events.StreamRequests, func(c *jetstream.StreamConfig) {
			*c = jetstream.StreamConfig{Name: c.Name, Storage: c.Storage, Mirror: &jetstream.StreamSource{Name: "OTHER"}}
		}, "mirror"},
		"results in memory":            {events.StreamResults, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage"},
		"results pushed out":           {events.StreamResults, func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, 10 }, "discard old"},
		"results that go once read":    {events.StreamResults, func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention"},
		"results that are a queue":     {events.StreamResults, func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "retention"},
		"one result a subject":         {events.StreamResults, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 1, true }, "discard_new_per_subject"},
		"the last result of a subject": {events.StreamResults, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject"},
		"results of anything":          {events.StreamResults, func(c *jetstream.StreamConfig) { c.Subjects = []string{"deletions.results.>", "deletions.attempts.>"} }, "subject deletions.results.>"},
		"results that do not fit":      {events.StreamResults, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, "max_msg_size"},
		"results that only count": {events.StreamResults, func(c *jetstream.StreamConfig) {
			c.AllowMsgCounter, c.Discard = true, jetstream.DiscardOld
		}, "allow_msg_counter"},
		"markers among the results": {events.StreamResults, func(c *jetstream.StreamConfig) {
			c.SubjectDeleteMarkerTTL, c.DenyPurge, c.AllowRollup = time.Hour, false, true
		}, "subject_delete_marker_ttl"},
		"schedules in memory":          {events.StreamLater, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage"},
		"schedules retained by limits": {events.StreamLater, func(c *jetstream.StreamConfig) { c.Retention = jetstream.LimitsPolicy }, "retention"},
		"schedules that are dropped":   {events.StreamLater, func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 }, "a limit of messages"},
		"few bytes for schedules":      {events.StreamLater, func(c *jetstream.StreamConfig) { c.MaxBytes = minLaterBytes - 1 }, "max_bytes"},
		"schedules that do not fit":    {events.StreamLater, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, "max_msg_size"},
		"schedules that grow old":      {events.StreamLater, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		"schedules of any target":      {events.StreamLater, func(c *jetstream.StreamConfig) { c.Subjects = []string{"deletions.later.>", "deletions.due.>"} }, "subject deletions.later.>"},
	}
}

// configs returns the configurations of the streams that Lethe creates. It leaves none on the server.
func (env *environment) configs() map[string]jetstream.StreamConfig {
	env.Helper()
	if err := streams.Setup(env.Context(), env.js, settings); err != nil {
		env.Fatal(err)
	}
	all := map[string]jetstream.StreamConfig{}
	for _, name := range streamNames() {
		all[name] = env.stream(name)
		if err := env.js.DeleteStream(env.Context(), name); err != nil {
			env.Fatal(err)
		}
	}
	return all
}

// createStreams creates Lethe's streams, of which one is changed.
func (env *environment) createStreams(changed string, change func(*jetstream.StreamConfig)) {
	env.Helper()
	for name, config := range env.configs() {
		if name == changed {
			change(&config)
		}
		if _, err := env.js.CreateStream(env.Context(), config); err != nil {
			env.Fatal(err)
		}
	}
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

// The commands, and a lane that runs, refuse the same settings.
func TestAnUnsafeStreamIsRefusedAndNamed(t *testing.T) {
	t.Parallel()
	for name, c := range unsafeStreams() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := bareEnvironment(t)
			env.createStreams(c.stream, c.change)
			env.mustRefuse(c.stream, "", c.setting)
			before := env.stream(c.stream)
			var problem *streams.Problem
			if err := streams.Setup(t.Context(), env.js, settings); !errors.As(err, &problem) || problem.Stream != c.stream || !strings.Contains(problem.Setting, c.setting) {
				t.Errorf("setup returned %v", err)
			}
			if diff := cmp.Diff(before, env.stream(c.stream)); diff != "" {
				t.Errorf("setup changed a stream that it refused (-before +after):\n%s", diff)
			}
		})
	}
}

// mustRefuse checks that [streams.Check] names a setting, and that the setting blocks a lane.
func (env *environment) mustRefuse(stream, consumer, setting string) {
	env.Helper()
	var problem *streams.Problem
	if err := streams.Check(env.Context(), env.js, 0, kvTarget); !errors.As(err, &problem) || problem.Stream != stream || problem.Consumer != consumer || !strings.Contains(problem.Setting, setting) {
		env.Errorf("the check returned %v", err)
	}
	lane := New(env.js, env.config(kvTarget, nil))
	if healthy := lane.check(env.Context()); healthy || lane.State().Status != StatusBlocked || !strings.Contains(lane.State().Reason, setting) {
		env.Errorf("healthy: %v, the lane is %+v", healthy, lane.State())
	}
}

func TestSetupAddsMissingSettingsToAStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream, missing string
		change          func(*jetstream.StreamConfig)
	}{
		"a target's requests": {events.StreamRequests, "deletions.requests.kv-user-context", func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[1:] }},
		"attempts":            {events.StreamResults, "deletions.attempts.*.*.*", func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] }},
		"schedules":           {events.StreamLater, "deletions.later.*.*", func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[1:] }},
		"due steps":           {events.StreamLater, "deletions.due.sensay-knowledge-base", func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:2] }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := bareEnvironment(t)
			env.createStreams(c.stream, c.change)
			env.mustRefuse(c.stream, "", c.missing+" is missing")
			if err := streams.Setup(t.Context(), env.js, settings); err != nil {
				t.Fatal(err)
			}
			if err := streams.Check(t.Context(), env.js, 0, events.Targets()...); err != nil {
				t.Errorf("after setup: %v", err)
			}
		})
	}
}

func TestAnUnsafeConsumerIsRefusedAndNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*jetstream.ConsumerConfig)
		setting string
		repairs bool // setup repairs it; the others are left to a person
	}{
		"messages dropped":                  {func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 }, "max_deliver 5", true},
		"messages without bodies":           {func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true }, "headers_only", true},
		"messages at their original pace":   {func(c *jetstream.ConsumerConfig) { c.ReplayPolicy = jetstream.ReplayOriginalPolicy }, "replay_policy", false},
		"messages redelivered early":        {func(c *jetstream.ConsumerConfig) { c.AckWait = time.Second }, "ack_wait", true},
		"messages redelivered by a backoff": {func(c *jetstream.ConsumerConfig) { c.BackOff = []time.Duration{time.Second} }, "backoff", true},
		"one message at a time":             {func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 1 }, "max_ack_pending", true},
		"small pulls":                       {func(c *jetstream.ConsumerConfig) { c.MaxRequestBatch = 1 }, "max_batch", true},
		"short pulls":                       {func(c *jetstream.ConsumerConfig) { c.MaxRequestExpires = time.Second }, "max_batch", true},
		"pulls of few bytes":                {func(c *jetstream.ConsumerConfig) { c.MaxRequestMaxBytes = 1000 }, "max_batch", true},
		"removed when inactive":             {func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Hour }, "inactive_threshold", true},
		"pulls by priority": {func(c *jetstream.ConsumerConfig) {
			c.PriorityPolicy, c.PriorityGroups = jetstream.PriorityPolicyOverflow, []string{"a"}
		}, "priority_groups", true},
		"pulls of a pinned client": {func(c *jetstream.ConsumerConfig) {
			c.PriorityPolicy, c.PriorityGroups = jetstream.PriorityPolicyPinned, []string{"a"}
		}, "priority_groups", true},
		"paused until tomorrow":     {func(c *jetstream.ConsumerConfig) { until := time.Now().Add(24 * time.Hour); c.PauseUntil = &until }, "paused", false},
		"messages of other targets": {func(c *jetstream.ConsumerConfig) { c.FilterSubjects, c.FilterSubject = []string{c.FilterSubject}, "" }, "filter_subject", true},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			if err := env.js.DeleteConsumer(t.Context(), events.StreamRequests, string(kvTarget)); err != nil {
				t.Fatal(err)
			}
			config := streams.LaneConsumer(events.StreamRequests, kvTarget)
			c.change(&config)
			if _, err := env.js.CreateConsumer(t.Context(), events.StreamRequests, config); err != nil {
				t.Fatal(err)
			}
			env.mustRefuse(events.StreamRequests, string(kvTarget), c.setting)
			var problem *streams.Problem
			err := streams.Setup(t.Context(), env.js, settings)
			if c.repairs && err != nil || !c.repairs && (!errors.As(err, &problem) || !strings.Contains(problem.Setting, c.setting)) {
				t.Errorf("setup returned %v", err)
			}
		})
	}
}

func TestSetupKeepsTheOperatorsConsumerSettings(t *testing.T) {
	env := newEnvironment(t)
	for stream, targets := range laneConsumers() {
		for _, target := range targets {
			config := streams.LaneConsumer(stream, target)
			config.AckWait, config.MaxAckPending = 17*time.Second, 1000
			if _, err := env.js.UpdateConsumer(t.Context(), stream, config); err != nil {
				t.Fatal(err)
			}
			config.MaxDeliver = 5 // setup repairs this
			if _, err := env.js.UpdateConsumer(t.Context(), stream, config); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, setup := range map[string]func(context.Context, jetstream.JetStream, streams.Settings) error{"setup": streams.Setup, "start": streams.Start} {
		if err := setup(t.Context(), env.js, settings); err != nil {
			t.Fatal(err)
		}
		for stream, targets := range laneConsumers() {
			for _, target := range targets {
				consumer, err := env.js.Consumer(t.Context(), stream, string(target))
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

// If one stream is missing and others exist, it may have contained data that is lost now.
func TestAMissingStreamIsCreatedBySetupAlone(t *testing.T) {
	t.Parallel()
	for _, stream := range streamNames() {
		t.Run(stream, func(t *testing.T) {
			env := newEnvironment(t)
			lane, _ := env.run(env.config(kvTarget, answering(answerDeleted)))
			env.until("the lane runs", func() bool { return lane.State().Status == StatusRunning })
			if err := env.js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
			env.mustRefuse(stream, "", "missing")
			var problem *streams.Problem
			if err := streams.Start(t.Context(), env.js, settings); !errors.As(err, &problem) || !problem.MissingBeside || problem.Stream != stream || !strings.Contains(problem.Why, "lost") {
				t.Errorf("a worker's start returned %v", err)
			}
			if _, err := env.js.Stream(t.Context(), stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Errorf("a worker's start created it: %v", err)
			}
			var created []streams.Created
			recording := settings
			recording.Created = func(c streams.Created) { created = append(created, c) }
			if err := streams.Setup(t.Context(), env.js, recording); err != nil {
				t.Fatal(err)
			}
			if len(created) != 1 || created[0].Stream != stream || created[0].Lost == "" {
				t.Errorf("setup created %+v", created)
			}
			if first := env.stream(stream).FirstSeq; first < 1<<50 {
				t.Errorf("its first sequence is %d, which the lost stream may have used", first)
			}
			lane.check(t.Context())
			r := contexts(1)
			env.publish(r)
			env.final(kvTarget, r.ID)
		})
	}
}

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

func TestAWorkerCreatesAllStreamsWhereNoneExists(t *testing.T) {
	env := bareEnvironment(t)
	var created []streams.Created
	recording := settings
	recording.Created = func(c streams.Created) { created = append(created, c) }
	if err := streams.Start(t.Context(), env.js, recording); err != nil {
		t.Fatal(err)
	}
	if err := streams.Check(t.Context(), env.js, 0, events.Targets()...); err != nil {
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

func TestMissingStreamsAndConsumersAreNamed(t *testing.T) {
	env := bareEnvironment(t)
	var problem *streams.Problem
	if err := streams.Check(t.Context(), env.js, 0, events.Targets()...); !errors.As(err, &problem) || problem.Stream != events.StreamRequests {
		t.Errorf("the check returned %v", err)
	}
	if err := streams.Setup(t.Context(), env.js, settings); err != nil {
		t.Fatal(err)
	}
	if err := env.js.DeleteConsumer(t.Context(), events.StreamLater, string(kvTarget)); err != nil {
		t.Fatal(err)
	}
	if err := streams.Check(t.Context(), env.js, 0, events.Targets()...); !errors.As(err, &problem) || problem.Consumer != string(kvTarget) || problem.Setting != "missing" {
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
	env := bareEnvironment(t)
	all := env.configs()
	if _, err := env.js.CreateStream(t.Context(), all[events.StreamRequests]); err != nil {
		t.Fatal(err)
	}
	js := &racingServer{env.js, []jetstream.StreamConfig{all[events.StreamResults], all[events.StreamLater]}}
	if err := streams.Setup(t.Context(), js, settings); err != nil {
		t.Fatal(err)
	}
	if err := streams.Check(t.Context(), env.js, 0, events.Targets()...); err != nil {
		t.Error(err)
	}
}
