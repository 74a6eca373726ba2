package limiter

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDelayStaysWithinItsLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{
			InitialInterval: time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "initial")),
			Multiplier:      rapid.Float64Range(1, 10).Draw(t, "multiplier"),
			Randomization:   rapid.Float64Range(0, 1).Draw(t, "randomization"),
		}
		p.MaxInterval = p.InitialInterval + time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "more"))
		asked := time.Duration(rapid.Int64Range(0, int64(1<<62)).Draw(t, "asked"))
		got := p.Delay(rapid.IntRange(1, 300).Draw(t, "n"), asked)
		if got < min(asked, p.MaxInterval) {
			t.Fatalf("%v is less than the requested %v", got, asked)
		}
		if most := float64(p.MaxInterval)*(1+p.Randomization) + 1; float64(got) > most {
			t.Fatalf("%v is more than %v", got, time.Duration(most))
		}
	})
}

func TestDelayGrows(t *testing.T) {
	p := Policy{InitialInterval: 500 * time.Millisecond, Multiplier: 2, MaxInterval: 3 * time.Second}
	for n, want := range map[int]time.Duration{
		1: 500 * time.Millisecond, 2: time.Second, 3: 2 * time.Second, 4: 3 * time.Second, 1 << 40: 3 * time.Second,
	} {
		if got := p.Delay(n, 0); got != want {
			t.Errorf("after attempt %d: %v, want %v", n, got, want)
		}
	}
}
