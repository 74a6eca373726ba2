package deleter

import (
	"math"
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-7": 0, "7.5": 0, "soon": 0, "１": 0,
		"315360000":                      10 * 365 * 24 * time.Hour,
		"99999999999999999999":           math.MaxInt64,
		"9223372036854775807":            math.MaxInt64,
		"Mon, 23 Nov 2026 12:01:00 GMT":  time.Minute,
		"Mon, 23 Nov 2026 11:59:00 GMT":  0,
		"Monday, 23-Nov-26 12:01:00 GMT": time.Minute,
	} {
		if got := ParseRetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, value := range []string{"7", "-1", "Mon, 23 Nov 2026 12:01:00 GMT", "1e9", "99999999999999999999"} {
		f.Add(value)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if got := ParseRetryAfter(value, now); got < 0 {
			t.Errorf("%q: %v", value, got)
		}
	})
}
