package bench

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

var backlog = flag.String("bench.backlog", "", "measure the cost with this many waiting requests, stored results and schedules, such as 10000,1000000; none: a small smoke test")

func TestFlatCost(t *testing.T) {
	programs, err := e2e.Build(t.Context(), t.TempDir(), e2e.Lethe, e2e.NATSServer)
	if err != nil {
		t.Fatal(err)
	}
	sizes, count := []int{500}, 200
	if *backlog != "" {
		sizes, count = nil, 5_000
		for size := range strings.SplitSeq(*backlog, ",") {
			n, err := strconv.Atoi(size)
			if err != nil || n < count {
				t.Fatalf("-bench.backlog: %q must be a number of at least %d", size, count)
			}
			sizes = append(sizes, n)
		}
	}
	for _, load := range []Load{Waiting, Elsewhere, Stored, Scheduled} {
		for _, target := range events.Targets() {
			t.Run(fmt.Sprintf("%s, %s", load, target), func(t *testing.T) {
				if *backlog == "" {
					t.Parallel() // nothing is measured
				}
				var trials []FlatMeasure
				for _, size := range sizes {
					t.Run(strconv.Itoa(size), func(t *testing.T) {
						s, err := RunFlat(t.Context(), Flat{Load: load, Size: size, Target: target, Count: count, Sync: *sync}, programs, t.TempDir())
						if err != nil {
							t.Fatal(err)
						}
						if s.Missing > 0 || s.Double > 0 {
							t.Errorf("%d results missing, %d duplicate", s.Missing, s.Double)
						}
						trials = append(trials, s)
					})
				}
				var table strings.Builder
				if err := Compare(&table, trials...); err != nil {
					t.Error(err)
				}
				fmt.Println(table.String()) // the table is the purpose of this test
			})
		}
	}
}
