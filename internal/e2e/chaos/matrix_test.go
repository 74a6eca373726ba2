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

// ways is one request for every way that a request can take, each with the
// faults of its own that lead it there.
func ways(t *testing.T, w *World) []Message {
	t.Helper()
	var messages []Message
	add := func(res events.Resource, script string) events.Request {
		r := events.NewRequest("/matrix", res)
		messages = append(messages, valid(r))
		for _, e := range entries(res) {
			if script != "" {
				w.mustSteer(t, "PUT", "scripts/"+e.String(), script)
			}
		}
		return r
	}
	entry := func(id int64) events.Resource {
		return events.KnowledgeBaseEntry{ReplicaUUID: uuid.MustParse("5bd5b7f3-22d3-4f0e-8a0f-0a1f1f6f6c11"), KnowledgeBaseID: id}
	}
	contexts := func(ids ...int64) events.Resource { return events.UserContexts{IDs: ids} }

	first := add(entry(1), "")
	add(entry(2), `[{"fault":"503+after"}]`)                     // deleted, but not said: a 404 comes next
	add(entry(3), `[{"fault":"cut+after"}]`)                     // likewise, without any answer
	add(entry(4), `[{"fault":"429"},{"fault":"503","times":2}]`) // waits
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

// A process dies, or stands still until another has finished its work, each
// time that it comes to a point; and somewhere between that point and the next.
func TestCrashMatrix(t *testing.T) {
	for _, point := range failpoint.Points() {
		for _, deed := range []string{"die", "stop"} {
			for _, delay := range []time.Duration{0, 5 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s, %s %s after", point, deed, delay), func(t *testing.T) {
					t.Parallel()
					w := open(t, Config{Troubles: []string{"--latency", "20ms", "--pending-for", "200ms"}})
					messages := ways(t, w)
					publish(t, w, messages, 0)()

					// One process after the other comes one step further than the one before.
					var deaths int
					var standing []*Worker
					for nth := 1; nth <= 5; nth++ {
						worker, err := w.NewWorker(e2e.WithFailpoints, fmt.Sprintf("LETHE_FAILPOINT=%s:%s:%d:%s", point, deed, nth, delay),
							"LETHE_KV_CONCURRENCY=2", "LETHE_SENSAY_CONCURRENCY=2")
						if err != nil {
							t.Fatal(err)
						}
						fell, err := worker.fell(t.Context(), 2*time.Second)
						if err != nil {
							t.Fatal(err)
						}
						switch {
						case !fell: // it found too little to do
							_ = worker.End(20 * time.Second)
						case deed == "stop":
							standing = append(standing, worker)
							deaths++
						default:
							deaths++
						}
					}
					if deaths == 0 {
						t.Fatal("no process came to the point")
					}
					w.mustWorkers(t, e2e.Lethe, 1)
					if err := w.Drain(t.Context(), time.Minute); err != nil {
						t.Error(err)
					}
					for _, worker := range standing {
						if err := worker.Signal(syscall.SIGCONT); err != nil {
							t.Fatal(err)
						}
					}
					record, violations := audit(t, w)
					t.Logf("%d processes fell; %s", deaths, sum(record))
					fail(t, w, violations)
				})
			}
		}
	}
}
