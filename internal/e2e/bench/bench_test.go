package bench

import (
	"flag"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

var scale = flag.Float64("bench.scale", 0, "run the workloads at this fraction of their size; 0: a small smoke test")

var sync = flag.String("bench.sync", e2e.SyncAlways, "the server's sync_interval: always, or a duration such as 2m, which is its default")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// workloads are the workloads of `make bench` at full size.
func workloads() []Workload {
	const kv, sensay = events.KVUserContext, events.SensayKnowledgeBase
	return []Workload{
		{Name: "W1 Sensay, no latency", Target: sensay, Count: 20_000},
		{Name: "W2 Sensay, 20 ms", Target: sensay, Count: 20_000, API: []string{"--latency", "20ms"}},
		{Name: "W2 Sensay, 100 ms", Target: sensay, Count: 20_000, API: []string{"--latency", "100ms"}},
		{Name: "W3 k-v.ai, single ids", Target: kv, Count: 50_000},
		{Name: "W4 Sensay, 500 calls a second", Target: sensay, Count: 10_000, API: []string{"--rate", "500"}},
		{Name: "W5 Sensay, 5 % 503", Target: sensay, Count: 20_000, API: []string{"--fault", "503=0.05"}},
		{Name: "W6 Sensay, 500 requests a second", Target: sensay, Count: 5_000, Rate: 500},
	}
}

func TestWorkloads(t *testing.T) {
	programs, err := e2e.Build(t.Context(), t.TempDir(), e2e.Lethe, e2e.NATSServer)
	if err != nil {
		t.Fatal(err)
	}
	contenders := []Contender{Lethe{programs[e2e.Lethe]}}
	if bento, found := FindBento(); found {
		contenders = append(contenders, bento)
	}
	all := workloads()
	if *scale == 0 {
		all = []Workload{{Name: "smoke test", Target: events.KVUserContext, Count: 300}, {Name: "smoke test, at a rate", Target: events.SensayKnowledgeBase, Count: 100, Rate: 500}}
	}
	fmt.Println(Header) // the table is the purpose of this test
	for _, w := range all {
		if *scale > 0 {
			w.Count = max(1, int(float64(w.Count)**scale))
		}
		w.Sync = *sync
		t.Run(w.Name, func(t *testing.T) {
			var measures []Measure
			for _, c := range contenders {
				m, err := Run(t.Context(), c, w, programs, t.TempDir())
				if err != nil {
					t.Errorf("%s: %v", c.Name(), err)
					continue
				}
				fmt.Println(m.Row())
				if m.Missing > 0 || m.Double > 0 {
					t.Errorf("%s: %d results missing, %d duplicate", c.Name(), m.Missing, m.Double)
				}
				measures = append(measures, m)
			}
			if len(measures) == 2 {
				fmt.Println(measures[0].Ratio(measures[1]))
			}
		})
	}
}
