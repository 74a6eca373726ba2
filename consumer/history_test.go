package consumer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

func TestHistorySurvivesItsHeaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := History{
			Attempts:   rapid.IntRange(0, 1<<30).Draw(t, "attempts"),
			Unanswered: rapid.Bool().Draw(t, "unanswered"),
			Confirming: rapid.Bool().Draw(t, "confirming"),
			Seq:        rapid.Uint64().Draw(t, "seq"),
			Arrival:    rapid.Uint64().Draw(t, "arrival"),
		}
		if rapid.Bool().Draw(t, "begun") {
			want.Since = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "since"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		}
		header := nats.Header{headerSince: {"left over"}}
		want.write(header)
		if diff := cmp.Diff(want, readHistory(header)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// Headers of scheduled messages are the worker's own, but a reader must stand
// whatever is there.
func FuzzReadHistory(f *testing.F) {
	f.Add("3", "2026-11-23T12:00:00Z", "true", "17", "confirm", "4")
	f.Add("-1", "yesterday", "maybe", "-17", "", "99999999999999999999999")
	f.Fuzz(func(t *testing.T, attempts, since, unanswered, expected, step, arrival string) {
		h := readHistory(nats.Header{
			headerAttempt: {attempts}, headerSince: {since}, headerUnanswered: {unanswered},
			headerExpected: {expected}, headerStep: {step}, headerArrival: {arrival},
		})
		if h.Attempts < 0 {
			t.Errorf("%d attempts", h.Attempts)
		}
		again := nats.Header{}
		h.write(again)
		got := readHistory(again)
		if !got.Since.Equal(h.Since) {
			t.Errorf("since %v became %v", h.Since, got.Since)
		}
		got.Since, h.Since = time.Time{}, time.Time{}
		if diff := cmp.Diff(h, got); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}
