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

// MinServerVersion is the oldest supported server: the first with message schedules (ADR-51).
const MinServerVersion = "2.12.0"

// CheckServer checks that the connected server has the features that Lethe needs. It returns ErrServerTooOld,
// ErrNoJetStream, or ErrUnreachable while disconnected. If the server announces JetStream, the check sends no request and
// needs no permission. A pre-release of the oldest version passes. With a JetStream domain, only the version is checked.
func CheckServer(ctx context.Context, nc *nats.Conn, domain string) error {
	version := nc.ConnectedServerVersion()
	if version == "" {
		return fmt.Errorf("%w: disconnected", ErrUnreachable)
	}
	// An unreadable version compares as less than any other.
	if semver.Compare(semver.MajorMinor("v"+version), semver.MajorMinor("v"+MinServerVersion)) < 0 {
		return fmt.Errorf("%w: found version %q, need %s or newer", ErrServerTooOld, version, MinServerVersion)
	}
	if enabled, _ := nc.ConnectedServerJetStream(); enabled || domain != "" {
		return nil
	}
	// Another server of the cluster may have it.
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("check JetStream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = js.AccountInfo(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: start the server (version %s) with --jetstream", ErrNoJetStream, version)
	default:
		return fmt.Errorf("check JetStream: %w", err)
	}
}

// JetStream returns the JetStream API of a domain. Empty means the server's own.
func JetStream(nc *nats.Conn, domain string, options ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	if domain == "" {
		return jetstream.New(nc, options...)
	}
	return jetstream.NewWithDomain(nc, domain, options...)
}

// InDomain returns a JetStream API subject for a domain. Empty means the server's own.
func InDomain(subject, domain string) string {
	if api, found := strings.CutPrefix(subject, "$JS.API."); found && domain != "" {
		return "$JS." + domain + ".API." + api
	}
	return subject
}
