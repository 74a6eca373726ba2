package consumer

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

func TestAFullLaterStreamLimitsWhichStreamsAreFetched(t *testing.T) {
	const limit = 1000
	for _, c := range []struct {
		bytes         uint64
		limit         int64
		requests, due bool
	}{
		{1 << 40, -1, true, true},
		{749, limit, true, true},
		{750, limit, false, true},
		{899, limit, false, true},
		{900, limit, false, false},
		{limit, limit, false, false},
	} {
		var usage laterUsage
		usage.percent.Store(streams.PercentFull(jetstream.StreamConfig{MaxBytes: c.limit}, jetstream.StreamState{Bytes: c.bytes}))
		if got := usage.mayFetch(events.StreamRequests); got != c.requests {
			t.Errorf("%d of %d: requests are fetched: %v", c.bytes, c.limit, got)
		}
		if got := usage.mayFetch(events.StreamLater); got != c.due {
			t.Errorf("%d of %d: due steps are fetched: %v", c.bytes, c.limit, got)
		}
	}
}

// The server drops the oldest schedule for a new one when the stream is full.
func TestALaneFetchesNoRequestsWhileTheLaterStreamIsFull(t *testing.T) {
	env := newEnvironment(t)
	limit := func(bytes int64) {
		t.Helper()
		config := env.stream(events.StreamLater)
		config.MaxBytes = bytes
		if _, err := env.js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	limit(minLaterBytes)
	lane, _ := env.run(env.config(kvTarget, answering(answerDeleted)))
	env.until("the lane knows of the limit", func() bool { return lane.laterUsage.limited.Load() })
	ballast := &nats.Msg{Subject: "deletions.later.sensay-knowledge-base.ballast", Data: make([]byte, 1<<20-100)}
	for range minLaterBytes*streams.LaterFullAt/100>>20 + 1 {
		if _, err := env.js.PublishMsgAsync(ballast); err != nil {
			t.Fatal(err)
		}
	}
	<-env.js.PublishAsyncComplete()
	env.until("the lane is blocked", func() bool {
		return lane.State().Status == StatusBlocked && strings.Contains(lane.State().Reason, "75 % full")
	})
	// A due step is still fetched, because it frees space.
	r := contexts(1)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	header := nats.Header{"content-type": {events.ContentType}}
	ledger.Progress{Attempts: 1, FirstAttempt: time.Now(), RequestSeq: 1}.Write(header)
	if _, err := env.js.PublishMsg(t.Context(), &nats.Msg{Subject: events.DueSubject(kvTarget), Data: body, Header: header}); err != nil {
		t.Fatal(err)
	}
	env.final(kvTarget, r.ID)
	limit(2 * minLaterBytes)
	env.until("the lane runs again", func() bool { return lane.State().Status == StatusRunning })
	r = contexts(2)
	env.publish(r)
	env.final(kvTarget, r.ID)
}

func TestSetupLimitsStreamsAndKeepsLargerLimits(t *testing.T) {
	limits := func(requests, results, later int64) streams.Settings {
		s := settings
		s.RequestsMaxBytes, s.ResultsMaxBytes, s.LaterMaxBytes = requests, results, later
		return s
	}
	const mib = 1 << 20
	env := bareEnvironment(t)
	for _, c := range []struct {
		name string
		set  streams.Settings
		want [3]int64
	}{
		{"created", limits(1*mib, 2*mib, 256*mib), [3]int64{1 * mib, 2 * mib, 256 * mib}},
		{"raised", limits(3*mib, 4*mib, 512*mib), [3]int64{3 * mib, 4 * mib, 512 * mib}},
		{"not lowered", limits(1*mib, 1*mib, 256*mib), [3]int64{3 * mib, 4 * mib, 512 * mib}},
		{"not removed", settings, [3]int64{3 * mib, 4 * mib, 512 * mib}},
	} {
		if err := streams.Setup(t.Context(), env.js, c.set); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for i, name := range streamNames()[:3] { // the bucket has no limit of its own
			if got := env.stream(name).MaxBytes; got != c.want[i] {
				t.Errorf("%s: %s is limited to %d, want %d", c.name, name, got, c.want[i])
			}
		}
		if err := streams.Check(t.Context(), env.js, 0, events.Targets()...); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
