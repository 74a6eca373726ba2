package natsconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/semver"
)

// MinServerVersion is the oldest server that Lethe works with: the first with message schedules (ADR-51).
const MinServerVersion = "2.12.0"

// CheckServer says, in one line, whether the connected server can do what Lethe needs: ErrServerTooOld,
// ErrNoJetStream, or ErrUnreachable when the connection is away. A server that announces JetStream is asked
// nothing, so that the check needs no permission. A pre-release of the oldest version passes.
func CheckServer(nc *nats.Conn) error {
	found := nc.ConnectedServerVersion()
	if found == "" {
		return fmt.Errorf("%w: the connection is away", ErrUnreachable)
	}
	// An unreadable version compares as less than any other.
	if semver.Compare(semver.MajorMinor("v"+found), semver.MajorMinor("v"+MinServerVersion)) < 0 {
		return fmt.Errorf("%w: found version %q, need %s or newer", ErrServerTooOld, found, MinServerVersion)
	}
	if enabled, _ := nc.ConnectedServerJetStream(); enabled {
		return nil
	}
	// A server without it may stand in a cluster that has it.
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("asking NATS for JetStream: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err = js.AccountInfo(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: server version %s answers, start it with --jetstream", ErrNoJetStream, found)
	default:
		return fmt.Errorf("asking NATS for JetStream: %w", err)
	}
}
