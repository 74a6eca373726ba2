package natsconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
// domain is the JetStream domain that is asked, empty for the server's own.
func CheckServer(nc *nats.Conn, domain string) error {
	found := nc.ConnectedServerVersion()
	if found == "" {
		return fmt.Errorf("%w: the connection is away", ErrUnreachable)
	}
	// An unreadable version compares as less than any other.
	if semver.Compare(semver.MajorMinor("v"+found), semver.MajorMinor("v"+MinServerVersion)) < 0 {
		return fmt.Errorf("%w: found version %q, need %s or newer", ErrServerTooOld, found, MinServerVersion)
	}
	if enabled, _ := nc.ConnectedServerJetStream(); enabled || domain != "" {
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

// JetStream speaks to the streams of a domain, or, where that is empty, to those of the server's own.
func JetStream(nc *nats.Conn, domain string, options ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	if domain == "" {
		return jetstream.New(nc, options...)
	}
	return jetstream.NewWithDomain(nc, domain, options...)
}

// InDomain is an API subject as it is spelled for a domain; empty is the server's own.
func InDomain(subject, domain string) string {
	if api, found := strings.CutPrefix(subject, "$JS.API."); found && domain != "" {
		return "$JS." + domain + ".API." + api
	}
	return subject
}
