package history

import (
	"slices"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
)

// What is stored of a request is shown although one of the streams is missing.
func TestAMissingStreamIsReadLikeAnEmptyOne(t *testing.T) {
	for missing, want := range map[string]Stage{
		events.StreamRequests: Retrying, events.StreamLater: Due, events.StreamResults: Retrying,
	} {
		t.Run(missing, func(t *testing.T) {
			s := newSite(t)
			s.publish(entry("other"))
			p := begun()
			p.Answer, p.RequestSeq = busy, 1
			soon := time.Now().Add(time.Hour)
			s.schedule("retried", s.attempt("retried", p, 0), soon)
			if err := s.js.DeleteStream(t.Context(), missing); err != nil {
				t.Fatal(err)
			}
			if got := s.find("retried").Stage(time.Now()); got != want {
				t.Errorf("the request is %s, want %s", got, want)
			}
			found, _, err := s.reader.Find(t.Context(), "unknown", target)
			if err != nil || len(found) > 0 {
				t.Errorf("found %v, %v", found, err)
			}
			if _, err := s.reader.FindSequence(t.Context(), 1, target); err != nil {
				t.Errorf("by its sequence: %v", err)
			}
			if _, err := s.reader.Failed(t.Context(), target, 1); err != nil {
				t.Errorf("failed requests: %v", err)
			}
			if got := s.reader.Missing(); !slices.Equal(got, []string{missing}) {
				t.Errorf("missing streams %v, want %s", got, missing)
			}
		})
	}
}
