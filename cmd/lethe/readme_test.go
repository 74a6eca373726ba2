package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestTheREADMEFitsAScreen(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSuffix(readme(t), "\n"), "\n")
	if len(lines) > 130 {
		t.Errorf("%d lines; it may have 130", len(lines))
	}
	for i, line := range lines {
		if utf8.RuneCountInString(line) > 100 {
			t.Errorf("line %d has more than 100 columns", i+1)
		}
	}
}

// Ports, times and the order of results differ from run to run.
func TestTheREADMEShowsTheDemosOutput(t *testing.T) {
	t.Parallel()
	shown := regexp.MustCompile("(?s)```\n(NATS at .*?)```").FindStringSubmatch(readme(t))
	if shown == nil {
		t.Fatal("README.md shows no output of the demo")
	}
	var out bytes.Buffer
	if err := demo(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if diff := cmp.Diff(withoutNumbers(shown[1]), withoutNumbers(out.String())); diff != "" {
		t.Error(diff)
	}
}

var (
	digits = regexp.MustCompile(`\d+(\.\d+)?(ms|s\b)?`)
	gaps   = regexp.MustCompile(` {2,}`)
)

func withoutNumbers(output string) []string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for i, line := range lines {
		lines[i] = gaps.ReplaceAllString(digits.ReplaceAllString(line, "N"), "  ")
		if _, list, ok := strings.Cut(lines[i], "and deleted "); ok {
			parts := strings.Split(strings.TrimSuffix(list, "."), ", ")
			slices.Sort(parts)
			lines[i] = strings.Join(parts, " ")
		}
	}
	slices.Sort(lines)
	return lines
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
