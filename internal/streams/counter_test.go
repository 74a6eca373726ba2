package streams_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/streams"
)

// setUp is a server with the streams.
func setUp(t *testing.T) jetstream.JetStream {
	t.Helper()
	_, js := e2e.Serve(t, e2e.ServerConfig{Dir: filepath.Join(t.TempDir(), "js")})
	if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	return js
}

const target = events.KVUserContext

func publish(t *testing.T, js jetstream.JetStream, subject string, header nats.Header) {
	t.Helper()
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: header}); err != nil {
		t.Fatal(err)
	}
}

func TestTheCountersCountTheirMessagesOnly(t *testing.T) {
	t.Parallel()
	js := setUp(t)
	for _, id := range []string{"a", "b", "b"} { // a second schedule replaces the first
		publish(t, js, events.LaterSubject(target, id), nats.Header{
			"Nats-Schedule": {"@at 2099-01-01T00:00:00Z"}, "Nats-Schedule-Target": {events.DueSubject(target)},
		})
	}
	publish(t, js, events.DueSubject(target), nil)
	publish(t, js, events.ResultSubject(target, "a", events.Failed), nil)
	publish(t, js, events.ResultSubject(target, "a", events.Deleted), nil)
	publish(t, js, events.ResultSubject(events.SensayKnowledgeBase, "a", events.Failed), nil)
	for name, c := range map[string]struct {
		stream  string
		counter jetstream.ConsumerConfig
		want    uint64
	}{
		"schedules":      {events.StreamLater, streams.ScheduledCounter(target), 2},
		"failed results": {events.StreamResults, streams.FailedCounter(target), 1},
	} {
		if got, err := streams.Count(t.Context(), js, c.stream, c.counter); err != nil || got != c.want {
			t.Errorf("%d %s, want %d (%v)", got, name, c.want, err)
		}
	}
}

// A worker works without a counter. It refuses one that is pulled, which loses schedules.
func TestACounterThatMiscountsIsRefusedAndSetupRecreatesIt(t *testing.T) {
	t.Parallel()
	js := setUp(t)
	want := streams.ScheduledCounter(target)
	for name, c := range map[string]struct {
		change  func(*jetstream.ConsumerConfig)
		setting string
	}{
		"other messages":  {func(c *jetstream.ConsumerConfig) { c.FilterSubject += "x" }, "filter_subject"},
		"gone when idle":  {func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = 1 << 40 }, "inactive_threshold"},
		"does not exist":  {nil, "missing"},
		"is being pulled": {func(*jetstream.ConsumerConfig) {}, "pulled"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := js.DeleteConsumer(t.Context(), events.StreamLater, want.Durable); err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				config := want
				c.change(&config)
				consumer, err := js.CreateConsumer(t.Context(), events.StreamLater, config)
				if err != nil {
					t.Fatal(err)
				}
				if c.setting == "pulled" {
					publish(t, js, events.LaterSubject(target, "a"), nats.Header{
						"Nats-Schedule": {"@at 2099-01-01T00:00:00Z"}, "Nats-Schedule-Target": {events.DueSubject(target)},
					})
					if _, err := consumer.Next(); err != nil {
						t.Fatal(err)
					}
				}
			}
			var problem *streams.Problem
			if _, err := streams.Count(t.Context(), js, events.StreamLater, want); !errors.As(err, &problem) || !strings.Contains(problem.Setting, c.setting) {
				t.Errorf("counting returned %v", err)
			}
			err := streams.Check(t.Context(), js, 0, target)
			if refused := errors.As(err, &problem); err != nil && !refused || refused != (c.change != nil) {
				t.Errorf("a worker's check returned %v", err)
			}
			if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := streams.Count(t.Context(), js, events.StreamLater, want); err != nil {
				t.Errorf("after setup: %v", err)
			}
		})
	}
}
