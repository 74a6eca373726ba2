package main

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

func TestTheNewestResults(t *testing.T) {
	b := newBench(t)
	for i, outcome := range []events.Outcome{events.Failed, events.Deleted, events.Failed, events.Deleted, events.NotFound} {
		b.answer(fmt.Sprintf("r-%d", i), contexts(int64(i+1)), outcome)
	}
	// More messages than one piece of the backward read.
	for i := range 1200 {
		if _, err := b.js.PublishAsync(fmt.Sprintf("deletions.attempts.kv-user-context.a-%d.1", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
	case <-t.Context().Done():
	}
	b.answer("r-5", contexts(6), events.Deleted)
	foreign := &nats.Msg{Subject: "deletions.results.kv-user-context.r-6.deleted", Data: []byte("{}")}
	if _, err := b.js.PublishMsg(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}

	for name, c := range map[string]struct {
		args string
		want string
	}{
		"fewer than there are":   {"--tail 3", "r-3 r-4 r-5"},
		"more than there are":    {"--tail 9", "r-0 r-1 r-2 r-3 r-4 r-5"},
		"none":                   {"--tail 0", ""},
		"one outcome":            {"--tail 1 --outcome failed", "r-2"},
		"two outcomes":           {"--tail 2 --outcome failed --outcome not-found", "r-2 r-4"},
		"one request":            {"--tail 2 --id r-1", "r-1"},
		"no such request":        {"--tail 2 --id r-9", ""},
		"another target":         {"--tail 2 --target sensay-knowledge-base", ""},
		"of a time":              {"--tail 2 --since 1h", "r-4 r-5"},
		"with a limit":           {"--tail 3 --limit 2", "r-3 r-4"},
		"followed, with a limit": {"--tail 2 --follow --limit 1", "r-4"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.lethe(append([]string{"results"}, strings.Fields(c.args)...)...)
			got.want(t, exitDone)
			if ids := requestIDs(got.stdout); ids != c.want {
				t.Errorf("got %q, want %q", ids, c.want)
			}
		})
	}
	if left := b.readers(); len(left) != 0 {
		t.Errorf("%d consumers are left on the server", len(left))
	}
}

func TestFollowStartsAfterTheTail(t *testing.T) {
	b := newBench(t)
	for _, tail := range []string{"0", "1"} {
		b.answer("old-"+tail, contexts(1), events.Deleted)
		cmd := command(t, b.server.ClientURL(), "results", "--tail", tail, "--follow", "--limit", "2")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		b.until("it follows", b.followed)
		b.answer("new-"+tail, contexts(2), events.Deleted)
		b.answer("newer-"+tail, contexts(3), events.Deleted)
		var lines []string
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			lines = append(lines, scanner.Text())
		}
		if code := exitCode(t, cmd.Wait()); code != exitDone {
			t.Errorf("status %d", code)
		}
		want := map[string]string{"0": "new-0 newer-0", "1": "old-1 new-1"}[tail]
		if ids := requestIDs(strings.Join(lines, "\n")); ids != want {
			t.Errorf("--tail %s: got %q, want %q", tail, ids, want)
		}
	}
}

// requestIDs returns the ids in lines of results.
func requestIDs(lines string) string {
	var ids []string
	for line := range strings.Lines(lines) {
		if fields := strings.Fields(line); len(fields) > 4 {
			ids = append(ids, fields[4])
		}
	}
	return strings.Join(ids, " ")
}

// readers returns the consumers that commands have made on the results. Durable ones are there to count.
func (b *bench) readers() (all []*jetstream.ConsumerInfo) {
	b.Helper()
	stream, err := b.js.Stream(b.Context(), events.StreamResults)
	if err != nil {
		b.Fatal(err)
	}
	list := stream.ListConsumers(b.Context())
	for info := range list.Info() {
		if info.Config.Durable == "" {
			all = append(all, info)
		}
	}
	if err := list.Err(); err != nil {
		b.Fatal(err)
	}
	return all
}

// followed reports whether the one reader waits for new messages.
func (b *bench) followed() bool {
	b.Helper()
	stream, err := b.js.Stream(b.Context(), events.StreamResults)
	if err != nil {
		b.Fatal(err)
	}
	all := b.readers()
	return len(all) == 1 && all[0].Config.OptStartSeq == stream.CachedInfo().State.LastSeq+1 && all[0].NumWaiting > 0
}
