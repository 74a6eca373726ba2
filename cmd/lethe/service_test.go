package main

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

// The worker answers every request of ADR-32 like the library.
func TestTheWorkerAnswersAsAService(t *testing.T) {
	b := newBench(t)
	nc := b.js.Conn()
	stop, err := announce(nc, "instance-1", "", &lanes{})
	if err != nil {
		t.Fatal(err)
	}
	library, err := micro.AddService(nc, micro.Config{Name: "other", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = library.Stop() }()
	ask := func(subject string) map[string]any {
		t.Helper()
		reply, err := nc.Request(subject, nil, 10*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		var body map[string]any
		if err := json.Unmarshal(reply.Data, &body); err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		return body
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		want := ask("$SRV." + verb + ".other")
		for _, subject := range []string{"$SRV." + verb + ".lethe", "$SRV." + verb + ".lethe.instance-1"} {
			got := ask(subject)
			if got["type"] != want["type"] || got["name"] != "lethe" || got["id"] != "instance-1" {
				t.Errorf("%s: %v", subject, got)
			}
			for field := range want {
				if _, ok := got[field]; !ok {
					t.Errorf("%s: no %s", subject, field)
				}
			}
		}
		ask("$SRV." + verb)
	}
	workers, err := askWorkers(t.Context(), nc)
	if err != nil || len(workers) != 1 || workers[0].Instance != "instance-1" {
		t.Errorf("status sees %v, %v", workers, err)
	}
	if got := ask("lethe.lanes.instance-1"); got["instance"] != "instance-1" {
		t.Error(got)
	}
	stop()
	if _, err := nc.Request("$SRV.PING.lethe", nil, 10*time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after its end: %v", err)
	}
}

// The worker must not publish answers to other subjects with its own permissions.
func TestTheWorkerAnswersOnlyToInboxes(t *testing.T) {
	b := newBench(t)
	nc := b.js.Conn()
	stop, err := announce(nc, "instance-1", "", &lanes{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ALL", Subjects: []string{"somewhere.>"}}); err != nil {
		t.Fatal(err)
	}
	asked := []string{"$SRV.PING", "$SRV.PING.lethe", "$SRV.INFO.lethe", "$SRV.STATS.lethe", "$SRV.STATS.lethe.instance-1", "lethe.lanes.instance-1"}
	for _, subject := range asked {
		for _, reply := range []string{
			"deletions.results.kv-user-context.aaa.failed", "deletions.attempts.kv-user-context.aaa.1", "deletions.requests.kv-user-context",
			"deletions.due.kv-user-context", "deletions.later.kv-user-context.aaa", "somewhere.else",
		} {
			if err := nc.PublishRequest(subject, reply, nil); err != nil {
				t.Fatal(err)
			}
		}
		// Requests on one subject are answered in order.
		if _, err := nc.Request(subject, nil, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"DELETION_REQUESTS", "DELETION_RESULTS", "DELETION_LATER", "ALL"} {
		s, err := b.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().State.LastSeq; n != 0 {
			t.Errorf("%d answers in %s", n, name)
		}
	}
}

func TestIsInbox(t *testing.T) {
	for reply, want := range map[string]bool{
		"_INBOX.abc.def": true, "_INBOX_ops.abc": true, "_R_.abc.def": true, "_GR_.AbCdEf.123456._INBOX.abc": true,
		"": false, "deletions.results.kv-user-context.a.failed": false, "$JS.API.STREAM.PURGE.DELETION_RESULTS": false,
		"$KV.lethe-control.lane.kv-user-context": false, "_GR_.AbCdEf.123456.deletions.requests.kv-user-context": false, "_GR_.a": false, "_": false,
	} {
		if got := isInbox(reply); got != want {
			t.Errorf("%q: %v", reply, got)
		}
	}
}
