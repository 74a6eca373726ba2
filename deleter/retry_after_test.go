package deleter

import (
	"math"
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-7": 0, "-0.5": 0, "7.5": 8 * time.Second, "7.0": 7 * time.Second,
		"0.001": time.Second, ".5": 0, "7.": 7 * time.Second, "7.5.5": 0, "1e3": 0, "+7": 0, "3, 9, 4": 9 * time.Second, "soon": 0, "１": 0,
		"315360000":                      10 * 365 * 24 * time.Hour,
		"99999999999999999999":           math.MaxInt64,
		"9223372036854775807":            math.MaxInt64,
		"Mon, 23 Nov 2026 12:01:00 GMT":  time.Minute,
		"Mon, 23 Nov 2026 11:59:00 GMT":  0,
		"Monday, 23-Nov-26 12:01:00 GMT": time.Minute,
	} {
		if got := ParseRetryAfter([]string{value}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestTheLongestOfSeveralRetryAfterCounts(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		values []string
		want   time.Duration
	}{
		{nil, 0},
		{[]string{"3", "9", "4"}, 9 * time.Second},
		{[]string{"Mon, 23 Nov 2026 12:01:00 GMT", "soon", "9"}, time.Minute},
		{[]string{"-1", "Mon, 23 Nov 2026 11:01:00 GMT"}, 0},
	} {
		if got := ParseRetryAfter(c.values, now); got != c.want {
			t.Errorf("%q: %v, want %v", c.values, got, c.want)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, value := range []string{"7", "-1", "Mon, 23 Nov 2026 12:01:00 GMT", "1e9", "99999999999999999999"} {
		f.Add(value)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if got := ParseRetryAfter([]string{value}, now); got < 0 {
			t.Errorf("%q: %v", value, got)
		}
	})
}
