package main

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

// The client library takes a stored message with a Status and no body for the server's.
func TestResultsAreReadPastAMessageThatLooksLikeTheServers(t *testing.T) {
	b := newBench(t)
	b.start()
	foreign := func() {
		t.Helper()
		for _, status := range []string{"100", "404", "408", "409", "503"} {
			msg := &nats.Msg{Subject: "deletions.results.kv-user-context.x.deleted", Header: nats.Header{"Status": {status}}}
			if _, err := b.js.PublishMsg(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := b.publish(events.UserContexts{IDs: []int64{1}})
	b.final(first)
	foreign()
	second := b.publish(events.UserContexts{IDs: []int64{2}})
	b.final(second)
	foreign()

	for _, args := range [][]string{{"results"}, {"results", "--tail", "2"}, {"results", "--since", "1h"}} {
		b.lethe(args...).want(t, 0, first.ID, second.ID)
	}
	b.lethe("failed", "list").want(t, 0)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var seen []string
	l := &resultReader{js: b.js, warn: b.Output()}
	err := l.each(ctx, selection{subject: events.ResultFilter("", "", ""), follow: true}, func(r *storedResult) (bool, error) {
		if seen = append(seen, r.RequestID); r.RequestID == second.ID {
			b.publish(events.UserContexts{IDs: []int64{3}})
		}
		return len(seen) < 3, nil
	})
	if err != nil || len(seen) != 3 {
		t.Errorf("followed: %v, %v", seen, err)
	}
}
