package observability

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// runbookURL is where the entry of an alert is. Its heading is the alert's name.
const runbookURL = "https://github.com/lethe-dev/lethe/blob/main/docs/operations.md#"

// runbook is the file with an entry for each alert.
const runbook = "../../docs/operations.md"

// entries are those of the section Alerts of the runbook, by their headings.
func entries(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Alerts\n")
	if !found {
		t.Fatal("there is no section Alerts")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	all := map[string]string{}
	for i, part := range strings.Split(section, "\n### ") {
		if heading, entry, _ := strings.Cut(part, "\n"); i > 0 {
			all[heading] = entry
		}
	}
	return all
}

func TestEachAlertHasItsEntryInTheRunbook(t *testing.T) {
	t.Parallel()
	found, alerts := entries(t), readRules(t).alerts()
	for _, r := range alerts {
		entry, written := found[r.Alert]
		if !written {
			t.Errorf("%s has no entry", r.Alert)
		}
		for _, part := range []string{"Meaning", "Impact", "Diagnosis", "Fix"} {
			if strings.Count(entry, "\n**"+part+".** ") != 1 {
				t.Errorf("the entry of %s has no %s, or several", r.Alert, part)
			}
		}
		if want := runbookURL + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s links to %s, want %s", r.Alert, r.Annotations["runbook_url"], want)
		}
	}
	for heading := range found {
		if !slices.ContainsFunc(alerts, func(r rule) bool { return r.Alert == heading }) {
			t.Errorf("the entry %s has no alert", heading)
		}
	}
}

func TestEachAlertSaysWhatAPersonNeeds(t *testing.T) {
	t.Parallel()
	for _, r := range readRules(t).alerts() {
		if severity := r.Labels["severity"]; len(r.Labels) != 1 || severity != "critical" && severity != "warning" {
			t.Errorf("%s has the labels %v", r.Alert, r.Labels)
		}
		for _, name := range []string{"summary", "description"} {
			if r.Annotations[name] == "" {
				t.Errorf("%s has no %s", r.Alert, name)
			}
		}
		if !strings.Contains(r.Expr, "absent(") && !strings.Contains(r.Annotations["summary"], "{{ $labels.lethe_") {
			t.Errorf("the summary of %s does not say which lane or stream it is about", r.Alert)
		}
	}
}
