package observability

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// ruleFile is as much of a file of rules as the tests read.
type ruleFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

// rule is an alert or a recorded query.
type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

func readRules(t *testing.T) ruleFile {
	t.Helper()
	text, err := os.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var f ruleFile
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.all()) < 10 {
		t.Fatalf("read %d rules", len(f.all()))
	}
	return f
}

func (f ruleFile) all() (all []rule) {
	for _, g := range f.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func (f ruleFile) alerts() (all []rule) {
	return slices.DeleteFunc(f.all(), func(r rule) bool { return r.Alert == "" })
}

// program returns the path of a program of Debian's package prometheus. Without it, it skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (Debian: prometheus)", name)
	}
	return path
}

// history is the samples of a series, one a minute, in promtool's notation: 0x5 is six times 0, 1+2x3 is 1 3 5 7.
type history struct{ series, values string }

// question is what promtool evaluates: whether an alert fires after some minutes.
type question struct {
	alert string
	name  string // what happens
	input []history
	after int    // minutes
	want  string // the labels of the alert that fires, beside its severity; "none" for no labels; "" if none fires
}

const (
	kv     = `lethe_target="kv-user-context"`
	sensay = `lethe_target="sensay-knowledge-base"`
	ofKV   = `lethe_target: kv-user-context`
)

func state(name string) string {
	return `lethe_lane_state{job="lethe",instance="a",` + kv + `,lethe_state="` + name + `"}`
}

func connected(instance string) string {
	return `lethe_nats_connected{job="lethe",instance="` + instance + `"}`
}

func oldest(of string) string {
	return `lethe_requests_oldest_age_seconds{job="lethe",instance="a",` + of + `}`
}

func results(outcome string) string {
	return `lethe_results_total{job="lethe",instance="a",` + kv + `,lethe_outcome="` + outcome + `"}`
}

func invalid(code string) string {
	return `lethe_invalid_total{job="lethe",instance="a",` + kv + `,error_type="` + code + `"}`
}

func stream(metric, name string) string {
	return metric + `{job="lethe",instance="a",lethe_stream="` + name + `"}`
}

var questions = []question{
	{"LetheNoWorker", "the only worker is killed", []history{{connected("a"), "1x5 stale"}}, 8, "none"},
	{"LetheNoWorker", "the only worker has been gone for less than two minutes", []history{{connected("a"), "1x5 stale"}}, 7, ""},
	{"LetheNoWorker", "the only worker loses its connection", []history{{connected("a"), "1x5 0x10"}}, 8, "none"},
	{"LetheNoWorker", "one of two workers loses its connection", []history{{connected("a"), "0x20"}, {connected("b"), "1x20"}}, 10, ""},

	{"LetheLaneSuspended", "suspended for two minutes", []history{{state("suspended"), "0x4 1x10"}}, 7, ofKV},
	{"LetheLaneSuspended", "suspended for less", []history{{state("suspended"), "0x4 1x10"}}, 6, ""},
	{"LetheLaneSuspended", "another state", []history{{state("failing"), "1x10"}}, 10, ""},

	{"LetheLaneBlocked", "blocked for two minutes", []history{{connected("a"), "1x20"}, {state("blocked"), "0x4 1x10"}}, 7, ofKV},
	{"LetheLaneBlocked", "blocked for less", []history{{connected("a"), "1x20"}, {state("blocked"), "0x4 1x10"}}, 6, ""},
	{"LetheLaneBlocked", "blocked because its worker has no connection", []history{{connected("a"), "0x20"}, {state("blocked"), "1x20"}}, 10, ""},
	{"LetheLaneBlocked", "blocked, and another worker is connected", []history{{connected("a"), "0x20"}, {connected("b"), "1x20"}, {state("blocked"), "1x20"}}, 10, ""},

	{"LetheLaneFailing", "failing for half an hour", []history{{state("failing"), "0x4 1x60"}}, 35, ofKV},
	{"LetheLaneFailing", "failing for less", []history{{state("failing"), "0x4 1x60"}}, 34, ""},
	{"LetheLaneFailing", "one call succeeds in between", []history{{state("failing"), "1x20 0 1x20"}}, 41, ""},

	{"LetheLanePaused", "paused for four hours", []history{{state("paused"), "0x4 1x300"}}, 245, ofKV},
	{"LetheLanePaused", "paused for less", []history{{state("paused"), "0x4 1x300"}}, 244, ""},

	{"LetheOldestRequestTooOld", "older than an hour, for five minutes", []history{{oldest(kv), "3600 3601+60x20"}}, 6, ofKV},
	{"LetheOldestRequestTooOld", "an hour old", []history{{oldest(kv), "3600x30"}}, 30, ""},
	{"LetheOldestRequestTooOld", "older than an hour, for less than five minutes", []history{{oldest(kv), "3600 3601+60x20"}}, 5, ""},
	{"LetheOldestRequestTooOld", "older than an hour, and the lane is paused", []history{{oldest(kv), "7200x30"}, {state("paused"), "1x30"}}, 30, ""},
	{"LetheOldestRequestTooOld", "older than an hour, and the lane is throttled", []history{{oldest(kv), "7200x30"}, {state("throttled"), "1x30"}, {state("paused"), "0x30"}}, 30, ofKV},

	{"LetheOldestRequestNearRetention", "older than half the time", []history{{oldest(kv), "501x20"}, {oldest(sensay), "10x20"}, {stream("lethe_stream_max_age_seconds", "DELETION_RESULTS"), "1000x20"}}, 5, ofKV},
	{"LetheOldestRequestNearRetention", "half the time old", []history{{oldest(kv), "500x20"}, {stream("lethe_stream_max_age_seconds", "DELETION_RESULTS"), "1000x20"}}, 20, ""},
	{"LetheOldestRequestNearRetention", "older than half the time, for less than five minutes", []history{{oldest(kv), "501x20"}, {stream("lethe_stream_max_age_seconds", "DELETION_RESULTS"), "1000x20"}}, 4, ""},
	{"LetheOldestRequestNearRetention", "results are kept forever", []history{{oldest(kv), "99999999x20"}}, 20, ""},

	{"LetheFailedRatioHigh", "15 of 100 fail, for an hour", []history{{results("failed"), "0+15x80"}, {results("deleted"), "0+85x80"}}, 70, ofKV},
	{"LetheFailedRatioHigh", "14 of 100 fail", []history{{results("failed"), "0+14x80"}, {results("deleted"), "0+86x80"}}, 70, ""},
	{"LetheFailedRatioHigh", "30 of 100 failed, but not in the last five minutes", []history{{results("failed"), "0+30x60 1800x20"}, {results("deleted"), "0+70x80"}}, 67, ""},
	{"LetheFailedRatioHigh", "15 of 100 fail, for ten minutes of an hour", []history{{results("failed"), "0x50 0+15x20"}, {results("deleted"), "0+85x80"}}, 60, ""},
	{"LetheFailedRatioHigh", "four requests, all of which failed", []history{{results("failed"), "0x10 0+1x4 4x3"}, {results("deleted"), "0x80"}}, 15, ""},
	{"LetheFailedRatioHigh", "eight requests, all of which failed", []history{{results("failed"), "0x10 0+1x8 8x3"}, {results("deleted"), "0x80"}}, 19, ofKV},
	{"LetheFailedRatioHigh", "15 of 100 fail, and most are invalid", []history{{results("failed"), "0+15x80"}, {results("deleted"), "0+85x80"}, {results("invalid"), "0+900x80"}}, 70, ofKV},
	{"LetheFailedRatioHigh", "15 of 100 fail, and as many are accepted", []history{{results("failed"), "0+15x80"}, {results("not-found"), "0+85x80"}, {results("accepted-pending"), "0+900x80"}}, 70, ofKV},

	{"LetheFailedRatioRaised", "7 of 100 fail, for six hours", []history{{results("failed"), "0+7x400"}, {results("deleted"), "0+93x400"}}, 370, ofKV},
	{"LetheFailedRatioRaised", "6 of 100 fail, and the others are not found", []history{{results("failed"), "0+6x400"}, {results("deleted"), "0x400"}, {results("not-found"), "0+94x400"}}, 370, ""},
	{"LetheFailedRatioRaised", "6 of 100 fail", []history{{results("failed"), "0+6x400"}, {results("deleted"), "0+94x400"}}, 370, ""},
	{"LetheFailedRatioRaised", "7 of 100 failed, but not in the last half hour", []history{{results("failed"), "0+7x360 2520x40"}, {results("deleted"), "0+93x400"}}, 392, ""},
	{"LetheFailedRatioRaised", "7 of 100 fail, for an hour of six", []history{{results("failed"), "0x300 0+7x80"}, {results("deleted"), "0+93x400"}}, 361, ""},

	{"LetheConfirmationsLate", "one is late", []history{{`lethe_confirmations_late_total{job="lethe",instance="a",` + kv + `}`, "0x10 1x400"}}, 20, ofKV},
	{"LetheConfirmationsLate", "none is late", []history{{`lethe_confirmations_late_total{job="lethe",instance="a",` + kv + `}`, "3x400"}}, 20, ""},
	{"LetheConfirmationsLate", "none for six hours", []history{{`lethe_confirmations_late_total{job="lethe",instance="a",` + kv + `}`, "0x10 1x400"}}, 372, ""},

	{"LetheInvalidSpike", "a fifth of 110 in ten minutes", []history{{invalid("malformed-event"), "0+2.2x20"}, {results("invalid"), "0+2.2x20"}, {results("deleted"), "0+8.8x20"}}, 15, ofKV},
	{"LetheInvalidSpike", "all of 20 in ten minutes", []history{{invalid("malformed-event"), "0+2x20"}, {results("invalid"), "0+2x20"}}, 15, ""},
	{"LetheInvalidSpike", "a tenth of 10,000", []history{{invalid("malformed-event"), "0+100x20"}, {results("invalid"), "0+100x20"}, {results("deleted"), "0+900x20"}}, 15, ""},
	{"LetheInvalidSpike", "more than a tenth, and many are accepted", []history{{invalid("malformed-event"), "0+110x20"}, {results("invalid"), "0+110x20"}, {results("deleted"), "0+890x20"}, {results("accepted-pending"), "0+900x20"}}, 15, ofKV},
	{"LetheInvalidSpike", "two codes that are few each", []history{{invalid("malformed-event"), "0+1.1x20"}, {invalid("id-reused"), "0+1.1x20"}, {results("invalid"), "0+2.2x20"}}, 15, ofKV},

	{"LetheStreamNearlyFull", "requests are 81 % full", []history{{stream("lethe_stream_bytes", "DELETION_REQUESTS"), "81x20"}, {stream("lethe_stream_max_bytes", "DELETION_REQUESTS"), "100x20"}}, 5, "lethe_stream: DELETION_REQUESTS"},
	{"LetheStreamNearlyFull", "requests are 80 % full", []history{{stream("lethe_stream_bytes", "DELETION_REQUESTS"), "80x20"}, {stream("lethe_stream_max_bytes", "DELETION_REQUESTS"), "100x20"}}, 20, ""},
	{"LetheStreamNearlyFull", "requests are 81 % full for less than five minutes", []history{{stream("lethe_stream_bytes", "DELETION_REQUESTS"), "81x20"}, {stream("lethe_stream_max_bytes", "DELETION_REQUESTS"), "100x20"}}, 4, ""},
	{"LetheStreamNearlyFull", "retries are 61 % full", []history{{stream("lethe_stream_bytes", "DELETION_LATER"), "61x20"}, {stream("lethe_stream_max_bytes", "DELETION_LATER"), "100x20"}}, 5, "lethe_stream: DELETION_LATER"},
	{"LetheStreamNearlyFull", "retries are 60 % full", []history{{stream("lethe_stream_bytes", "DELETION_LATER"), "60x20"}, {stream("lethe_stream_max_bytes", "DELETION_LATER"), "100x20"}}, 20, ""},
	{"LetheStreamNearlyFull", "a stream without a limit", []history{{stream("lethe_stream_bytes", "DELETION_RESULTS"), "1000000x20"}}, 20, ""},
}

func TestEachAlertFiresAboveItsThresholdOnly(t *testing.T) {
	t.Parallel()
	promtool, rules := program(t, "promtool"), readRules(t)
	text := fmt.Sprintf("rule_files: [%q]\nevaluation_interval: 1m\ntests:\n", withoutAnnotations(t, rules))
	for _, q := range questions {
		text += q.write(t, rules)
	}
	file := filepath.Join(t.TempDir(), "questions.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// withoutAnnotations writes the rules without their texts, which promtool would compare too, and returns the file.
func withoutAnnotations(t *testing.T, f ruleFile) (path string) {
	t.Helper()
	for g := range f.Groups {
		f.Groups[g].Rules = slices.Clone(f.Groups[g].Rules)
		for r := range f.Groups[g].Rules {
			f.Groups[g].Rules[r].Annotations = nil
		}
	}
	text, err := yaml.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// write is a question as promtool reads it.
func (q question) write(t *testing.T, f ruleFile) string {
	t.Helper()
	text := fmt.Sprintf("  - name: %q\n    interval: 1m\n    input_series:\n", q.alert+": "+q.name)
	for _, h := range q.input {
		text += fmt.Sprintf("      - {series: '%s', values: %q}\n", h.series, h.values)
	}
	text += fmt.Sprintf("    alert_rule_test:\n      - {eval_time: %dm, alertname: %s, exp_alerts: [", q.after, q.alert)
	if q.want != "" {
		i := slices.IndexFunc(f.alerts(), func(r rule) bool { return r.Alert == q.alert })
		if i < 0 {
			t.Fatalf("there is no alert %s", q.alert)
		}
		labels := []string{"severity: " + f.alerts()[i].Labels["severity"]}
		if q.want != "none" {
			labels = append(labels, q.want)
		}
		text += "{exp_labels: {" + strings.Join(labels, ", ") + "}}"
	}
	return text + "]}\n"
}

func TestEachAlertIsAskedBothWays(t *testing.T) {
	t.Parallel()
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, q := range questions {
		if q.want != "" {
			fires[q.alert] = true
		} else {
			silent[q.alert] = true
		}
	}
	for _, r := range readRules(t).alerts() {
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: a test that it fires: %t, that it does not: %t", r.Alert, fires[r.Alert], silent[r.Alert])
		}
	}
}
