package streams

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

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

func TestAnUnsafeStreamIsRefusedAndNamed(t *testing.T) {
	t.Parallel()
	for name, c := range unsafeStreams() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := emptyServer(t)
			createStreams(t, js, c.stream, c.change)
			mustRefuse(t, js, c.stream, "", c.setting)
			before := config(t, js, c.stream)
			var problem *Problem
			if err := Setup(t.Context(), js, settings); !errors.As(err, &problem) || problem.Stream != c.stream || !strings.Contains(problem.Setting, c.setting) {
				t.Errorf("setup returned %v", err)
			}
			if diff := cmp.Diff(before, config(t, js, c.stream)); diff != "" {
				t.Errorf("setup changed a stream that it refused (-before +after):\n%s", diff)
			}
		})
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
			js := emptyServer(t)
			createStreams(t, js, c.stream, c.change)
			mustRefuse(t, js, c.stream, "", c.missing+" is missing")
			if err := Setup(t.Context(), js, settings); err != nil {
				t.Fatal(err)
			}
			if err := Check(t.Context(), js, 0, events.Targets()...); err != nil {
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
			t.Parallel()
			js := installed(t)
			if err := js.DeleteConsumer(t.Context(), events.StreamRequests, string(events.KVUserContext)); err != nil {
				t.Fatal(err)
			}
			config := LaneConsumer(events.StreamRequests, events.KVUserContext)
			c.change(&config)
			if _, err := js.CreateConsumer(t.Context(), events.StreamRequests, config); err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, js, events.StreamRequests, string(events.KVUserContext), c.setting)
			var problem *Problem
			err := Setup(t.Context(), js, settings)
			if c.repairs && err != nil || !c.repairs && (!errors.As(err, &problem) || !strings.Contains(problem.Setting, c.setting)) {
				t.Errorf("setup returned %v", err)
			}
		})
	}
}

// configs returns the configurations of the streams that Setup creates. It leaves none on the server.
func configs(t *testing.T, js jetstream.JetStream) map[string]jetstream.StreamConfig {
	t.Helper()
	if err := Setup(t.Context(), js, settings); err != nil {
		t.Fatal(err)
	}
	all := map[string]jetstream.StreamConfig{}
	for _, name := range streamNames() {
		all[name] = config(t, js, name)
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// createStreams creates Lethe's streams, of which one is changed.
func createStreams(t *testing.T, js jetstream.JetStream, changed string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	for name, config := range configs(t, js) {
		if name == changed {
			change(&config)
		}
		if err := createStream(t.Context(), js, config); err != nil {
			t.Fatal(err)
		}
	}
}

// mustRefuse checks that [Check] names a setting.
func mustRefuse(t *testing.T, js jetstream.JetStream, stream, consumer, setting string) {
	t.Helper()
	var problem *Problem
	if err := Check(t.Context(), js, 0, events.KVUserContext); !errors.As(err, &problem) || problem.Stream != stream || problem.Consumer != consumer || !strings.Contains(problem.Setting, setting) {
		t.Errorf("the check returned %v", err)
	}
}
