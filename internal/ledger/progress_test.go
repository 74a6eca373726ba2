package ledger

import (
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

func TestProgressSurvivesItsHeaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Progress{
			Attempts:        rapid.IntRange(0, 1<<30).Draw(t, "attempts"),
			MayHaveDeleted:  rapid.Bool().Draw(t, "unanswered"),
			AwaitingRemoval: rapid.Bool().Draw(t, "confirming"),
			Seq:             rapid.Uint64().Draw(t, "seq"),
			RequestSeq:      rapid.Uint64().Draw(t, "arrival"),

			Waits:        rapid.IntRange(0, 1<<30).Draw(t, "waits"),
			Elapsed:      time.Duration(rapid.Int64Min(0).Draw(t, "elapsed")),
			Undocumented: time.Duration(rapid.Int64Min(0).Draw(t, "undocumented")),
			Alone:        rapid.Bool().Draw(t, "alone"),
			RefusedWait:  time.Duration(rapid.Int64Min(0).Draw(t, "refused wait")),
		}
		if rapid.Bool().Draw(t, "begun") {
			want.FirstAttempt = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "since"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		}
		if rapid.Bool().Draw(t, "refused") {
			want.Refused = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "refused at"), 0).UTC()
		}
		if rapid.Bool().Draw(t, "answered") {
			want.Answer = NewAnswer(rapid.IntRange(0, 999).Draw(t, "status"), rapid.String().Draw(t, "message"), time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "answered at"), 5))
		}
		if rapid.Bool().Draw(t, "stored") {
			want.StoredAt = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "stored at"), 0).UTC()
		}
		header := nats.Header{}
		for _, name := range []string{headerStored, headerAnswer, headerFirstAttempt, headerElapsed, headerUndocumented, headerAlone, headerRefused, headerRefusedWait} {
			header.Set(name, rapid.SampledFrom([]string{"left over", "true", "1s", "2026-11-23T12:00:00Z"}).Draw(t, name))
		}
		want.Write(header)
		if diff := cmp.Diff(want, ReadProgress(header)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// A worker writes the headers of scheduled messages, but reading must handle any content.
func FuzzReadProgress(f *testing.F) {
	f.Add("3", "2026-11-23T12:00:00Z", "true", "17", "confirm", "4", "1m30s", "true")
	f.Add("-1", "yesterday", "maybe", "-17", "", "99999999999999999999999", "-1h", "perhaps")
	f.Add("1", "", "", "", "", "", "9999999999999h", "")
	f.Fuzz(func(t *testing.T, attempts, since, unanswered, expected, step, arrival, elapsed, alone string) {
		h := ReadProgress(nats.Header{
			headerElapsed: {elapsed}, headerUndocumented: {elapsed}, headerRefusedWait: {elapsed}, headerRefused: {since}, headerAlone: {alone},
			headerAttempt: {attempts}, headerFirstAttempt: {since}, headerMayHaveDeleted: {unanswered},
			headerExpected: {expected}, headerStep: {step}, headerRequestSeq: {arrival},
		})
		if h.Attempts < 0 {
			t.Errorf("%d attempts", h.Attempts)
		}
		if h.Elapsed < 0 || h.WithRetry(h.Elapsed, h.RefusedWait).Elapsed < 0 {
			t.Errorf("an elapsed time of %s", h.Elapsed)
		}
		again := nats.Header{}
		h.Write(again)
		got := ReadProgress(again)
		if !got.FirstAttempt.Equal(h.FirstAttempt) {
			t.Errorf("since %v became %v", h.FirstAttempt, got.FirstAttempt)
		}
		if !got.Refused.Equal(h.Refused) {
			t.Errorf("refused %v became %v", h.Refused, got.Refused)
		}
		got.FirstAttempt, h.FirstAttempt = time.Time{}, time.Time{}
		got.Refused, h.Refused = time.Time{}, time.Time{}
		if diff := cmp.Diff(h, got); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}

// A worker of an earlier version wrote no elapsed time.
func TestProgressWithoutElapsedTimeHasNone(t *testing.T) {
	h := ReadProgress(nats.Header{headerAttempt: {"40"}, headerFirstAttempt: {"2020-01-01T00:00:00Z"}, headerExpected: {"7"}})
	if h.Attempts != 40 || h.Seq != 7 || h.Waits != 40 || h.Elapsed != 0 || h.RefusedAlone() || h.Single() {
		t.Errorf("%+v", h)
	}
}

func TestAnAttemptForWhichNoCallWasMadeIsTakenBack(t *testing.T) {
	for name, c := range map[string]struct{ before, want Progress }{
		"the first one":            {Progress{}, Progress{}},
		"a later one":              {Progress{Attempts: 2, FirstAttempt: noon}, Progress{Attempts: 2, FirstAttempt: noon}},
		"the first of a new chain": {Progress{AwaitingRemoval: true, FirstAttempt: noon}, Progress{AwaitingRemoval: true, FirstAttempt: noon}},
	} {
		begun := c.before.WithAttempt(noon.Add(time.Hour))
		if begun.Attempts != c.before.Attempts+1 || begun.FirstAttempt.IsZero() || !c.before.FirstAttempt.IsZero() && !begun.FirstAttempt.Equal(c.before.FirstAttempt) {
			t.Errorf("%s: begun as %+v", name, begun)
		}
		if diff := cmp.Diff(c.want, begun.WithoutLastAttempt()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestARetryCountsItsCallAndItsWait(t *testing.T) {
	for _, c := range []struct{ before, call, wait, want time.Duration }{
		{0, time.Second, time.Minute, time.Minute + time.Second},
		{time.Hour, time.Second, 0, time.Hour + time.Second},
		{math.MaxInt64 - 1, 1, 0, math.MaxInt64},
		{math.MaxInt64 - 1, 1, 1, math.MaxInt64},
		{0, math.MaxInt64, math.MaxInt64, math.MaxInt64},
	} {
		want := Progress{Waits: 4, Elapsed: c.want, Undocumented: 1}
		if diff := cmp.Diff(want, Progress{Waits: 3, Elapsed: c.before, Undocumented: 1}.WithRetry(c.call, c.wait)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c, diff)
		}
	}
}

func TestARequestIsSingleOnceItWasRefusedAlone(t *testing.T) {
	for name, c := range map[string]struct {
		p                    Progress
		single, refusedAlone bool
	}{
		"nothing was refused":    {Progress{Attempts: 3, Elapsed: time.Hour}, false, false},
		"a shared call":          {Progress{Alone: true}, true, false},
		"its credential":         {Progress{Refused: noon}, true, true},
		"an undocumented answer": {Progress{Undocumented: 1}, true, true},
	} {
		if c.p.Single() != c.single || c.p.RefusedAlone() != c.refusedAlone {
			t.Errorf("%s: single %v, refused alone %v", name, c.p.Single(), c.p.RefusedAlone())
		}
	}
}

func TestAForeignMessageIsReportedOnce(t *testing.T) {
	var seen seenSubjects
	for i := range maxSeen + 1 { // the last one makes it forget
		if !seen.first(strconv.Itoa(i)) || seen.first(strconv.Itoa(i)) {
			t.Fatalf("message %d is not reported exactly once", i)
		}
		if i > 0 && i < maxSeen && seen.first("0") {
			t.Fatalf("message 0 is reported again after message %d", i)
		}
		if len(seen.subjects) > maxSeen {
			t.Fatalf("it remembers %d", len(seen.subjects))
		}
	}
	if !seen.first("0") {
		t.Error("it does not forget")
	}
}
