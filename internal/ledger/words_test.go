package ledger

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

func TestFailureTextHasTheServersDescription(t *testing.T) {
	full := &jetstream.APIError{Code: 503, ErrorCode: 10077, Description: "maximum bytes exceeded"}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"an error of the server":    {full, "maximum bytes exceeded (error 10077 of the server)"},
		"with the failed operation": {fmt.Errorf("a schedule: %w", full), "a schedule: maximum bytes exceeded (error 10077 of the server)"},
		"another error":             {errors.New("nats: nats: no"), "nats: no"},
	} {
		if got := FailureText(newServer(t), c.err); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestFailureFixNamesTheLimitOfAFullStream(t *testing.T) {
	js := newServer(t)
	for description, want := range map[string]string{
		"maximum bytes exceeded":    streams.RaiseLimit(events.StreamResults),
		"maximum messages exceeded": "raise max_msgs with `nats stream edit DELETION_RESULTS --max-msgs`",
		"no space left on device":   checkDisk,
	} {
		err := &jetstream.APIError{Code: 503, ErrorCode: errCodeStoreFailed, Description: description}
		if got := FailureFix(js, events.StreamResults, err); got != want {
			t.Errorf("%s: %q, want %q", description, got, want)
		}
	}
}
