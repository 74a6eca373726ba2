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
	nc, err := natsconn.Connect(ctx, natsconn.Config{
		URL: cfg.ClientURL(), Creds: cfg.NATS.Creds, CA: cfg.NATS.CA, Cert: cfg.NATS.Cert, Key: cfg.NATS.Key,
		Command: command, Log: slog.New(slog.DiscardHandler), OnFatal: cancel, MayBeDenied: append(without, jszSubject), OnDenied: deny,
	})
	if err != nil {
		return err
	}
	defer func() {
		cancel(nil)
		nc.Close()
	}()
	if err := natsconn.CheckServer(nc); err != nil {
		return err
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(answersWithin))
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	if err := do(ctx, &client{nc, js, cfg, looks}); err != nil {
		if denied := context.Cause(ctx); errors.Is(denied, nats.ErrPermissionViolation) {
			return fmt.Errorf("lethe %s: %w", command, denied)
		}
		return err
	}
	return nil
}
