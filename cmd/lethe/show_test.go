package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/lethe-dev/lethe/events"
)

// A stream that is missing is named with its fix, and the rest is shown.
func TestShowWithAMissingStream(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{events.StreamLater, events.StreamResults} {
		t.Run(stream, func(t *testing.T) {
			b := newBench(t)
			b.lethe("request", "kv-user-context", "--id", "1", "--request-id", "waits").want(t, exitDone)
			if err := b.js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
			problem := "the stream " + stream + " is missing, so what it contained is unknown; `lethe setup` creates it"
			b.lethe("show", "waits").want(t, exitDone, "It waits in DELETION_REQUESTS", "problem: "+problem)
			b.lethe("show", "other").want(t, exitFailed, "nothing is stored under other", "; "+problem)
			var shown shownRequest
			if got := b.lethe("show", "waits", "--output", "json"); json.Unmarshal([]byte(got.stdout), &shown) != nil || !slices.Equal(shown.MissingStreams, []string{stream}) {
				t.Errorf("printed %+v", got)
			}
		})
	}
	t.Run("on the page", func(t *testing.T) {
		b := newBench(t)
		w := b.start()
		b.pageShows(w, "", "Every lane is running")
		b.lethe("request", "kv-user-context", "--id", "1", "--request-id", "waits").want(t, exitDone)
		b.until("it is answered", func() bool { return b.lethe("results", "--id", "waits", "--limit", "1").stdout != "" })
		if err := b.js.DeleteStream(t.Context(), events.StreamLater); err != nil {
			t.Fatal(err)
		}
		problem := "the stream DELETION_LATER is missing, so what it contained is unknown; lethe setup creates it."
		b.pageShows(w, "", "This cannot be read now: "+problem)
		b.pageShows(w, "?id=waits", "It is final: deleted", "Problem: "+problem)
	})
}
