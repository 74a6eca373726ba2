package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/natsconn"
)

// answersWithin is how long a publish waits for its acknowledgement, before it is
// tried again.
const answersWithin = 5 * time.Second

// client is the connection of a command that talks to a running system.
type client struct {
	*nats.Conn
	js  jetstream.JetStream
	cfg *config.Config
	// looks ends when the server denies the command to look at something that it
	// can do without.
	looks context.Context
}

// withClient connects a command by the settings of the environment, without
// waiting, and lets it do its work. The context that it does it with ends when
// the server denies it something, which would show as a time-out alone; then
// that is the error. Without what these subjects begin it can do.
func withClient(cmd *cobra.Command, command string, do func(context.Context, *client) error, without ...string) error {
	cfg, err := config.Load()
	if err != nil {
		return usageError("%w", err)
	}
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	looks, deny := context.WithCancelCause(ctx)
	defer deny(nil)
	for i, subject := range without {
		without[i] = natsconn.InDomain(subject, cfg.JetstreamDomain)
	}
	server := connection(cfg, command)
	server.Log, server.OnFatal, server.MayBeDenied, server.OnDenied = slog.New(slog.DiscardHandler), cancel, append(without, jszSubject), deny
	nc, err := natsconn.Connect(ctx, server)
	if err != nil {
		if cfg.NATSURL.Reveal() == "" {
			err = fmt.Errorf("%w (it is not set: that is the embedded server of `lethe run`)", err)
		}
		return err
	}
	defer func() {
		cancel(nil)
		nc.Close()
	}()
	if err := natsconn.CheckServer(nc, cfg.JetstreamDomain); err != nil {
		return fmt.Errorf("%s: %w", server.Credential(), err)
	}
	js, err := natsconn.JetStream(nc, cfg.JetstreamDomain, jetstream.WithPublishAsyncTimeout(answersWithin))
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	if err := do(ctx, &client{nc, js, cfg, looks}); err != nil {
		if denied := context.Cause(ctx); errors.Is(denied, nats.ErrPermissionViolation) {
			return denied
		}
		return noJetStream(err, cfg)
	}
	return nil
}

// connection is how the environment says to connect.
func connection(cfg *config.Config, command string) natsconn.Config {
	return natsconn.Config{
		URL: cfg.ClientURL(), URLName: config.NATSURLName(), Command: command,
		Creds: cfg.NATS.Creds, NKey: cfg.NATS.Nkey, CA: cfg.NATS.CA, Cert: cfg.NATS.Cert, Key: cfg.NATS.Key, TLSFirst: cfg.NATS.TLSFirst,
	}
}

// noJetStream names the variable where an error means that the server has no
// JetStream to offer: none in the account, or none that answers in the domain.
func noJetStream(err error, cfg *config.Config) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%s: %w: the account of this credential has none", connection(cfg, "").Credential(), natsconn.ErrNoJetStream)
	case cfg.JetstreamDomain != "" && (errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled)):
		return fmt.Errorf("LETHE_JETSTREAM_DOMAIN: no JetStream answers in the domain %q: %w", cfg.JetstreamDomain, err)
	}
	return err
}
