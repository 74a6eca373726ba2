package chaos

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/failpoint"
)

// pathRequests returns a request for every path through a worker, and gives the API the
// script of faults that leads there.
func pathRequests(t *testing.T, env *Environment) []Message {
	t.Helper()
	var messages []Message
	add := func(res events.Resource, script string) events.Request {
		r := events.NewRequest("/matrix", res)
		messages = append(messages, valid(r))
		for _, e := range entries(res) {
			if script != "" {
				env.mustAdmin(t, "PUT", "scripts/"+e.String(), script)
			}
		}
		return r
	}
	entry := func(id int64) events.Resource {
		return events.KnowledgeBaseEntry{ReplicaUUID: uuid.MustParse("5bd5b7f3-22d3-4f0e-8a0f-0a1f1f6f6c11"), KnowledgeBaseID: id}
	}
	contexts := func(ids ...int64) events.Resource { return events.UserContexts{IDs: ids} }

	first := add(entry(1), "")
	add(entry(2), `[{"fault":"503+after"}]`)                     // the API deletes and answers 503, then 404
	add(entry(3), `[{"fault":"cut+after"}]`)                     // the API deletes and does not answer, then 404
	add(entry(4), `[{"fault":"429"},{"fault":"503","times":2}]`) // is retried
	add(entry(5), `[{"fault":"pending"}]`)                       // is confirmed later
	gone := add(entry(6), "")
	add(gone.Resource, "") // not found
	add(contexts(10, 11), "")
	add(contexts(12), `[{"fault":"503"},{"fault":"cut+after"}]`)
	add(contexts(13, 14), "")
	again := valid(first)
	reused := first
	reused.Resource = entry(7)
	messages = append(messages, again, valid(reused))
	messages = append(messages,
		Message{Publication{Target: events.KVUserContext, Code: events.CodeMalformedEvent}, []byte(`{]`)},
		Message{Publication{Target: events.SensayKnowledgeBase, Code: events.CodeMalformedEvent}, []byte(`null`)},
	)
	return messages
}

// A process dies, or stops until another has finished its work, at each crash point
// and between that point and the next.
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	for _, point := range failpoint.Points() {
		for _, action := range []string{"die", "stop"} {
			for _, delay := range []time.Duration{0, 5 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s, %s %s after", point, action, delay), func(t *testing.T) {
					t.Parallel()
					env := open(t, Config{APIFaults: []string{"--latency", "20ms", "--pending-for", "200ms"}})
					messages := pathRequests(t, env)
					publish(t, env, messages, 0)()

					// Each process gets one step further than the one before.
					var deaths int
					var stopped []*Worker
					for nth := 1; nth <= 5; nth++ {
						worker, err := env.NewWorker(e2e.WithFailpoints, fmt.Sprintf("LETHE_FAILPOINT=%s:%s:%d:%s", point, action, nth, delay),
							"LETHE_KV_CONCURRENCY=2", "LETHE_SENSAY_CONCURRENCY=2")
						if err != nil {
							t.Fatal(err)
						}
						timeout := 3 * time.Second
						if nth == 1 {
							timeout = 20 * time.Second // it always reaches the point
						}
						down, err := worker.waitDownOrStopped(t.Context(), timeout)
						if err != nil {
							t.Fatal(err)
						}
						switch {
						case !down && nth == 1:
							t.Fatal("no process reached the crash point")
						case !down: // too few requests were left for it to reach the point
							_ = worker.End(20 * time.Second)
						case action == "stop":
							stopped = append(stopped, worker)
							deaths++
						default:
							deaths++
						}
					}
					env.mustWorkers(t, e2e.Lethe, 1)
					if err := env.Drain(t.Context(), time.Minute); err != nil {
						t.Error(err)
					}
					for _, worker := range stopped {
						if err := worker.Signal(syscall.SIGCONT); err != nil {
							t.Fatal(err)
						}
					}
					record, violations := audit(t, env)
					t.Logf("%d processes died or stopped; %s", deaths, sum(record))
					fail(t, env, violations)
				})
			}
		}
	}
}
