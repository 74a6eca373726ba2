package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/lethe-dev/lethe/events"
)

// The worker exits within the grace period, and finishes by itself.
func TestTheProcessEndsWithinTheGracePeriod(t *testing.T) {
	t.Parallel()
	for name, full := range map[string]bool{"a call that hangs": false, "results that cannot be stored": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if full {
				stream, err := b.js.Stream(t.Context(), events.StreamResults)
				if err != nil {
					t.Fatal(err)
				}
				config := stream.CachedInfo().Config
				config.MaxMsgs = 1
				if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
					t.Fatal(err)
				}
			} else {
				b.delayAnswers()
			}
			w := b.start("SHUTDOWN_GRACE=4s")
			b.publish(entryOf(1))
			<-b.begun
			if full {
				b.until("the lane is stuck", func() bool { return strings.Contains(w.output(), "cannot be stored") })
			}
			if err := w.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := w.Wait(); err != nil {
				t.Errorf("the worker ended with %v", err)
			}
			if output := w.output(); strings.Contains(output, `"WARN","msg":"step not finished`) || full && !strings.Contains(output, "before all steps were finished") || strings.Contains(output, "nats: nats:") || strings.Contains(output, "grace period exceeded") || strings.Contains(output, "stored again") || full && !strings.Contains(output, "could not be stored") {
				t.Error("unexpected log")
			}
		})
	}
}
