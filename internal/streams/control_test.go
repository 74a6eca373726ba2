package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// installed is a server with all streams and keys.
func installed(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := emptyServer(t)
	if err := Setup(t.Context(), js, settings); err != nil {
		t.Fatal(err)
	}
	return js
}

func config(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config
}

// readLaneKey returns a lane's key, "" if it is missing.
func readLaneKey(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	m, err := LastMessage(t.Context(), js, Control, LaneKey(events.KVUserContext))
	if err != nil {
		t.Fatal(err)
	}
	if m == nil || !readableKey(m) {
		return ""
	}
	return string(m.Data)
}

func TestAnOlderInstallationGetsItsBucketAtStart(t *testing.T) {
	js := installed(t)
	if err := js.DeleteStream(t.Context(), Control); err != nil {
		t.Fatal(err)
	}
	older := config(t, js, events.StreamRequests)
	maps.DeleteFunc(older.Metadata, func(name, _ string) bool { return name == controlSeen })
	if _, err := js.UpdateStream(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	var problem *Problem
	if err := Check(t.Context(), js, 0); !errors.As(err, &problem) || problem.Stream != Control || strings.Contains(problem.Why, "lost") || !strings.Contains(problem.Why, "`lethe setup`") {
		t.Errorf("the check returned %v", err)
	}
	var created []Created
	if err := Start(t.Context(), js, Settings{Replicas: 1, Created: func(c Created) { created = append(created, c) }}); err != nil {
		t.Fatal(err)
	}
	if len(created) != 1 || created[0] != (Created{Stream: Control}) || readLaneKey(t, js) == "" {
		t.Errorf("created %+v, the key is %q", created, readLaneKey(t, js))
	}
}

func TestALostBucketIsCreatedByAPersonOnly(t *testing.T) {
	js := installed(t)
	if err := js.DeleteStream(t.Context(), Control); err != nil {
		t.Fatal(err)
	}
	var problem *Problem
	if err := Start(t.Context(), js, Settings{Replicas: 1}); !errors.As(err, &problem) || !problem.MissingBeside || !strings.Contains(problem.Why, "pauses") {
		t.Errorf("start returned %v", err)
	}
	if _, err := js.Stream(t.Context(), Control); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("start created it: %v", err)
	}
}

func TestADeletedKeyIsWrittenByAPersonOnly(t *testing.T) {
	js := installed(t)
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: LaneKey(events.KVUserContext), Header: nats.Header{"KV-Operation": {"DEL"}}}); err != nil {
		t.Fatal(err)
	}
	if err := Start(t.Context(), js, Settings{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	if key := readLaneKey(t, js); key != "" {
		t.Errorf("start wrote %s", key)
	}
	var created []Created
	if err := Setup(t.Context(), js, Settings{Replicas: 1, Created: func(c Created) { created = append(created, c) }}); err != nil {
		t.Fatal(err)
	}
	if len(created) != 1 || created[0].Key != "lane.kv-user-context" || created[0].Lost == "" || readLaneKey(t, js) == "" {
		t.Errorf("created %+v, the key is %q", created, readLaneKey(t, js))
	}
}

func TestSetupKeepsAPause(t *testing.T) {
	js := installed(t)
	const paused = `{"state":"paused","reason":"vendor asked"}`
	if _, err := js.Publish(t.Context(), LaneKey(events.KVUserContext), []byte(paused)); err != nil {
		t.Fatal(err)
	}
	if err := Setup(t.Context(), js, Settings{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	if key := readLaneKey(t, js); key != paused {
		t.Errorf("the key is %s", key)
	}
}

func TestABucketThatCouldLoseAPauseIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*jetstream.StreamConfig)
		setting string
	}{
		"in memory":                   {func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage"},
		"a work queue":                {func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "retention"},
		"with an age":                 {func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age"},
		"with roll-ups":               {func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }, "allow_rollup_hdrs"},
		"that drops keys at a limit":  {func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 1<<20, jetstream.DiscardOld }, "discard old"},
		"that refuses the 17th write": {func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = true }, "discard_new_per_subject"},
		"without times to live":       {func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false }, "allow_msg_ttl"},
		"with a counter":              {func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true }, "allow_msg_counter"},
		"with fewer subjects":         {func(c *jetstream.StreamConfig) { c.Subjects = []string{"$KV.lethe-control.lane.*"} }, "subject"},
		"with times to live only":     {func(*jetstream.StreamConfig) {}, ""},
	} {
		bucket := controlStream(Settings{Replicas: 1})
		c.change(&bucket)
		err := checkStream(bucket)
		var problem *Problem
		if c.setting == "" && err == nil {
			continue
		}
		if !errors.As(err, &problem) || problem.Stream != Control || !strings.Contains(problem.Setting, c.setting) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheBucketHasALimitWhereTheAccountRequiresOne(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.conf")
	text := fmt.Sprintf(`listen: "127.0.0.1:-1"
jetstream { store_dir: %q }
accounts { A { jetstream { max_bytes_required: true }, users: [{user: a, password: a}] } }
no_auth_user: a
`, t.TempDir())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	settings := Settings{Replicas: 1, RequestsMaxBytes: 1 << 20, ResultsMaxBytes: 1 << 20, LaterMaxBytes: 256 << 20}
	if err := Setup(t.Context(), js, settings); err != nil {
		t.Fatal(err)
	}
	if got := config(t, js, Control).MaxBytes; got != controlMaxBytes {
		t.Errorf("it is limited to %d", got)
	}
	if err := Setup(t.Context(), js, settings); err != nil {
		t.Errorf("again: %v", err)
	}
}

// refusing is a server that refuses to create streams, some times.
type refusing struct {
	jetstream.JetStream
	err   error
	times int
	calls int
}

func (r *refusing) CreateStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	if r.calls++; r.calls <= r.times {
		return nil, r.err
	}
	return r.JetStream.CreateStream(ctx, c)
}

func TestAStreamIsCreatedOnceTheServerHasRemovedTheFilesOfAnEarlierOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   *jetstream.APIError
		calls int // until the stream exists or the error is final
	}{
		"its files are still removed": {&jetstream.APIError{Code: 500, ErrorCode: 10049, Description: "error creating store for stream"}, 3},
		"another cause of that code":  {&jetstream.APIError{Code: 500, ErrorCode: 10049, Description: "anything else"}, 1},
		"another error":               {&jetstream.APIError{Code: 500, ErrorCode: 10047, Description: "insufficient storage resources available"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := &refusing{JetStream: emptyServer(t), err: c.err, times: 2}
			err := createStream(t.Context(), js, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
			if js.calls != c.calls || (err == nil) != (c.calls == 3) {
				t.Errorf("%v after %d calls", err, js.calls)
			}
		})
	}
}
