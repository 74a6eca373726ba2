package main

import (
	"strings"
	"testing"
)

func TestHealthcheckNeverShowsTheURL(t *testing.T) {
	t.Parallel()
	closed, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]int{
		"http://user:hush%zz@" + closed + "/readyz": 2,
		"http://user:hu/hush@" + closed:             2,
		"user:hush@" + closed:                       2,
		"http:user:hush@" + closed:                  2,
		"ftp://user:hush@" + closed:                 2,
		"http://" + closed + "/%zz?token=hush":      2,
		"http://" + closed + "/readyz?token=hush":   1,
		"http://user:hush@" + closed + "/readyz":    1,
	} {
		status, line := lethe(t, nil, "healthcheck", url)
		if status != want || strings.Contains(line, "hush") || want == 1 && !strings.Contains(line, closed) {
			t.Errorf("%s: exit status %d, want %d; stderr %q", url, status, want, line)
		}
	}
}
