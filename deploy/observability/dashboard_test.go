package observability

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// An operator reads from the top: is something wrong, for how long, where, and why.
func TestTheDashboardGoesFromTheVerdictToTheProcess(t *testing.T) {
	t.Parallel()
	panels := readDashboard(t).Panels
	var rows []string
	for _, p := range panels {
		if p.Type == "row" {
			rows = append(rows, p.Title)
		}
	}
	if diff := cmp.Diff([]string{"Verdict", "Ages", "Lanes", "API", "Results", "Process"}, rows); diff != "" {
		t.Error(diff)
	}
	if !slices.IsSortedFunc(panels, func(a, b panel) int { return a.GridPos.Y - b.GridPos.Y }) {
		t.Error("the panels are in another order than on the screen")
	}
}

func TestThePanelsOfTheDashboardAreInPlace(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	ids, cells := map[int]string{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if other := ids[p.ID]; other != "" {
			t.Errorf("%s and %s have the same id", other, p.Title)
		}
		ids[p.ID] = p.Title
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s covers %q, or leaves the screen", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("%s has no query, or a data source of its own", p.Title)
		}
	}
}

func TestTheQueriesOfTheDashboardAreValid(t *testing.T) {
	t.Parallel()
	promtool := program(t, "promtool")
	var rules []rule
	for _, queries := range dashboardQueries(t) {
		for _, q := range queries {
			rules = append(rules, rule{Record: fmt.Sprintf("query:%d", len(rules)), Expr: q})
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// promtool reads the rules that it names, too.
func TestPrometheusReadsItsConfiguration(t *testing.T) {
	t.Parallel()
	promtool := program(t, "promtool")
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "config", "prometheus.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Grafana finds the dashboard and Prometheus by what is provisioned, at the places that the compose file mounts.
func TestGrafanaIsProvisionedWithTheDashboard(t *testing.T) {
	t.Parallel()
	var stack struct {
		Services map[string]struct {
			Environment map[string]string
			Volumes     []string
		}
	}
	var sources struct {
		Datasources []struct{ UID, Type, URL string }
	}
	var dashboards struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	for path, into := range map[string]any{
		"../../docker-compose.yml":                        &stack,
		"grafana/provisioning/datasources/prometheus.yml": &sources,
		"grafana/provisioning/dashboards/lethe.yml":       &dashboards,
	} {
		text, err := os.ReadFile(path)
		if err == nil {
			err = yaml.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	grafana, prometheus := stack.Services["grafana"], stack.Services["prometheus"]
	folder := dashboards.Providers[0].Options.Path
	for _, volume := range []string{
		"./deploy/observability/grafana/dashboards:" + folder + ":ro",
		"./deploy/observability/grafana/provisioning:/etc/grafana/provisioning:ro",
	} {
		if !slices.Contains(grafana.Volumes, volume) {
			t.Errorf("grafana does not mount %s", volume)
		}
	}
	if home := grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]; home != folder+"/lethe.json" {
		t.Errorf("the first page is %s", home)
	}
	for _, name := range []string{"prometheus.yml", "rules.yml"} {
		if !slices.Contains(prometheus.Volumes, "./deploy/observability/"+name+":/etc/prometheus/"+name+":ro") {
			t.Errorf("prometheus does not mount %s", name)
		}
	}
	if s := sources.Datasources[0]; s.Type != "prometheus" || s.URL != "http://prometheus:9090" {
		t.Errorf("the data source is %+v", s)
	}
}
