package observability

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lethe-dev/lethe/events"
)

// realPage is the page of a worker after requests of every kind, and of what the rules record.
func realPage(t *testing.T, s *stack) page {
	t.Helper()
	s.faults(`{"sensay":{"chances":{"503":0.5}}}`)
	s.publish(contexts(1, 2, 3)...)
	s.publish(knowledge(1, 2, 3, 4, 5, 6, 7, 8)...)
	for range 2 {
		if _, err := s.js.Publish(t.Context(), events.RequestSubject(events.KVUserContext), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	var p page
	s.until("the worker answered, retried and read the streams", func() error {
		text, err := s.get(s.admin + "/metrics")
		if err != nil {
			return err
		}
		if p, err = readPage(text); err != nil {
			return err
		}
		for _, metric := range []string{"lethe_request_duration_seconds_count", "lethe_retries_total", "lethe_stream_bytes"} {
			if len(p[metric]) == 0 {
				return fmt.Errorf("there is no %s yet", metric)
			}
		}
		return nil
	})
	p["ALERTS"] = []map[string]string{{"alertname": "LetheNoWorker", "alertstate": "firing"}} // Prometheus's own
	for _, r := range readRules(t).all() {
		if r.Record != "" {
			p[r.Record] = []map[string]string{{"lethe_target": "kv-user-context"}}
		}
	}
	return p
}

// dashboardQueries are those of the dashboard by the titles of their panels, with its variables as Grafana fills them.
func dashboardQueries(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			all[p.Title] = append(all[p.Title], filled.Replace(q.Expr))
		}
	}
	return all
}

var filled = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$target", ".+")

// words are names of metrics and labels in prose.
var words = regexp.MustCompile(`\blethe_[a-z_]+\b`)

func TestEachNameIsOnARealPage(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := realPage(t, s)
	for _, r := range readRules(t).all() {
		for _, problem := range p.check(r.Expr) {
			t.Errorf("rule %s%s: %s", r.Alert, r.Record, problem)
		}
	}
	for title, queries := range dashboardQueries(t) {
		for _, q := range queries {
			for _, problem := range p.check(q) {
				t.Errorf("panel %s: %s in %s", title, problem, q)
			}
		}
	}
	text, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	found := words.FindAllString(string(text), -1)
	if len(found) == 0 {
		t.Error("the runbook names no metric")
	}
	for _, name := range found {
		if len(p[name]) == 0 && !p.hasLabel(name) {
			t.Errorf("the runbook names %s, which is neither a metric nor a label", name)
		}
	}
	t.Run("each command of the runbook exists, with its flags", func(t *testing.T) { s.checkCommands(t, string(text)) })
}

func (p page) hasLabel(name string) bool {
	for _, series := range p {
		if slices.ContainsFunc(series, func(labels map[string]string) bool { return labels[name] != "" }) {
			return true
		}
	}
	return false
}

var (
	command = regexp.MustCompile("(?m)(?:`|^    \\$ |/)lethe ([a-z]+(?: list| replay)?)([^`\\n]*)")
	flag    = regexp.MustCompile(`--[a-z]+`)
)

func (s *stack) checkCommands(t *testing.T, text string) {
	t.Helper()
	help := map[string]string{}
	for _, c := range command.FindAllStringSubmatch(text, -1) {
		if help[c[1]] == "" {
			s.T = t
			help[c[1]] = s.run(append(strings.Fields(c[1]), "--help")...)
		}
		if !strings.Contains(help[c[1]], "lethe "+c[1]) { // cobra shows the help of the nearest command that exists
			t.Errorf("there is no command lethe %s", c[1])
		}
		for _, f := range flag.FindAllString(c[2], -1) {
			if !strings.Contains(help[c[1]], f+" ") {
				t.Errorf("lethe %s has no flag %s", c[1], f)
			}
		}
	}
	if len(help) < 5 {
		t.Errorf("found %d commands", len(help))
	}
}

// dashboard is as much of a dashboard of Grafana as the tests read.
type dashboard struct {
	UID, Title string
	Panels     []panel
}

type panel struct {
	ID          int
	Type, Title string
	Description string
	Datasource  struct{ Type, UID string }
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr, RefID string }
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("grafana/dashboards/lethe.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}
