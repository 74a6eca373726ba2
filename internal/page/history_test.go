package page

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// record adds situations to a history, one each period.
func record(situations ...Situation) *history {
	h, at := &history{}, time.Now().Add(-time.Duration(len(situations))*sampleEvery)
	for i := range situations {
		at = at.Add(sampleEvery)
		if situations[i].RequestsIn != nil && situations[i].CountedAt.IsZero() {
			situations[i].CountedAt = at
		}
		h.add(at, situations[i])
	}
	return h
}

func did(calls, deleted uint64, latency ...uint64) Situation {
	totals := Totals{Calls: calls, Results: map[string]uint64{"deleted": deleted}}
	for i, n := range latency {
		totals.Latency = append(totals.Latency, Bucket{UpTo: time.Duration(i+1) * time.Second, Count: n})
	}
	return Situation{Lanes: []Lane{{Target: kv, State: "running", Totals: totals}}}
}

func TestAPeriodCountsWhatChangedInIt(t *testing.T) {
	h := record(did(100, 50, 60, 40, 0), did(130, 60, 60, 45, 5))
	s := h.read()[1]
	if got := s.lanes[kv].calls; math.Round(got) != 120 {
		t.Errorf("%f calls a minute", got)
	}
	if s.results["deleted"] != 10 {
		t.Errorf("%f results", s.results["deleted"])
	}
	if l := s.lanes[kv]; l.median != 2 || l.p95 != 3 {
		t.Errorf("median %f s, p95 %f s", l.median, l.p95)
	}
}

// The worker counts from its start, so calls before the first sample are not lost.
func TestTheFirstPeriodHasNoRates(t *testing.T) {
	s := record(Situation{}, did(100, 50, 1)).read()
	if !math.IsNaN(s[0].minutes) || !math.IsNaN(s[0].requestsIn) {
		t.Errorf("%+v", s[0])
	}
	if s[1].results["deleted"] != 50 || math.Round(s[1].lanes[kv].calls) != 400 || s[1].lanes[kv].median != 1 {
		t.Errorf("%+v", s[1])
	}
}

func TestTheHistoryIsBounded(t *testing.T) {
	h := record(make([]Situation, 3*maxSamples)...)
	if n := len(h.read()); n != maxSamples {
		t.Errorf("%d samples are kept", n)
	}
}

// The server's count is older than the sample, and one count can serve two samples.
func TestRequestsInFollowTheCountsOfTheServer(t *testing.T) {
	begin := time.Now().Add(-time.Minute)
	counted := func(n uint64, after time.Duration) Situation {
		return Situation{RequestsIn: new(n), CountedAt: begin.Add(after)}
	}
	h := record(counted(1000, 0), counted(1030, 30*time.Second), counted(1030, 30*time.Second), counted(5, 45*time.Second))
	var got []float64
	for _, s := range h.read() {
		got = append(got, s.requestsIn)
	}
	if diff := cmp.Diff([]float64{math.NaN(), 60, 60, math.NaN()}, got, equateNaNs); diff != "" {
		t.Error(diff)
	}
}

var equateNaNs = cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })

func TestALineHasAGapWhereNothingIsKnown(t *testing.T) {
	now := time.Now()
	var samples []sample
	for i, v := range []float64{1, 2, math.NaN(), 4, 5} {
		samples = append(samples, sample{at: now.Add(time.Duration(i-5) * sampleEvery), requestsIn: v})
	}
	samples[4].at = now.Add(time.Hour) // the process was suspended
	c := draw(chart{}, samples, now, []series{{"in", "", func(s sample) float64 { return s.requestsIn }, latest(short)}}, short)
	if n := strings.Count(c.Lines[0].Path, "M"); n != 3 || c.Top != "5" || c.Lines[0].Value != "5" {
		t.Errorf("%d pieces, top %s, value %s: %s", n, c.Top, c.Lines[0].Value, c.Lines[0].Path)
	}
}

// A worker that has just started shows its first minutes in full width.
func TestAChartShowsAsMuchAsIsKnown(t *testing.T) {
	now := time.Now()
	for age, want := range map[time.Duration]time.Duration{0: 6 * time.Minute, 7 * time.Minute: 20 * time.Minute, 21 * time.Minute: span, 2 * span: span} {
		if got := windowOf([]sample{{at: now.Add(-age)}, {at: now}}, now); got != want {
			t.Errorf("after %s: %s", age, got)
		}
	}
	samples := []sample{{at: now.Add(-3 * time.Minute), requestsIn: 1}}
	c := draw(chart{}, samples, now, []series{{"in", "", func(s sample) float64 { return s.requestsIn }, latest(short)}}, short)
	if !strings.HasPrefix(c.Lines[0].Path, "M240.0") {
		t.Errorf("the middle is not in the middle: %s", c.Lines[0].Path)
	}
}

func TestAnEmptyChartSaysSo(t *testing.T) {
	for _, c := range charts(nil, []string{kv, sensay}, time.Now()) {
		if !c.Empty || !strings.Contains(c.Label, "nothing is known yet") {
			t.Errorf("%s: %+v", c.ID, c)
		}
	}
}

func TestNumbersAreShort(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{grouped(0), "0"}, {grouped(999), "999"}, {grouped(math.MaxInt64), "9\u202f223\u202f372\u202f036\u202f854\u202f775\u202f807"},
		{short(0), "0"}, {short(0.25), "0.25"}, {short(12.34), "12.3"}, {short(1234), "1.2k"}, {short(300e3), "300k"}, {short(2e6), "2M"},
		{took(0), "0"}, {took(180 * time.Millisecond), "180 ms"}, {took(1500 * time.Millisecond), "1.5 s"}, {took(30 * time.Minute), "30 min"},
		{age(-time.Second), "0 s"}, {age(61 * time.Second), "1 min 1 s"}, {age(25 * time.Hour), "1 d 1 h"},
		{about(59 * time.Second), "59 s"}, {about(47 * time.Hour), "47 h"}, {about(72 * time.Hour), "3 days"},
		{size(640 << 10), "640 KiB"}, {size(3 << 30), "3 GiB"}, {count(nil), "unknown"},
		{seconds(roundUp(0.031)), "50 ms"}, {short(roundUp(0)), "1"}, {short(roundUp(1001)), "2k"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestAFixShowsItsCommands(t *testing.T) {
	fix := "raise LETHE_LATER_MAX_BYTES and run `lethe setup`, then `lethe status`"
	if diff := cmp.Diff([]string{"lethe setup", "lethe status"}, commands(fix)); diff != "" {
		t.Error(diff)
	}
	want := []part{{"raise ", false}, {"LETHE_LATER_MAX_BYTES", true}, {" and run ", false}, {"lethe setup", true}, {", then ", false}, {"lethe status", true}}
	if diff := cmp.Diff(want, parts(fix)); diff != "" {
		t.Error(diff)
	}
}
