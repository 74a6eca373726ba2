package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/natsconn"
)

func newSetupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "setup",
		Short: "Create or update the streams and consumers",
		Long: `Setup creates the streams DELETION_REQUESTS, DELETION_RESULTS and DELETION_LATER
with a consumer for each lane, or updates them without loss: limits that you set
stay, replicas and ages are raised and never lowered. A stream whose settings
could drop a request is refused by name.

It uses LETHE_NATS_URL (none: the embedded server of a running Lethe),
LETHE_STREAM_REPLICAS and LETHE_RESULTS_MAX_AGE.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			client, err := dial(ctx, "setup")
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if err := consumer.Setup(ctx, client.js, streamSettings(client.cfg)); err != nil {
				return err
			}
			for _, stream := range []string{events.StreamRequests, events.StreamResults, events.StreamLater} {
				fmt.Fprintln(cmd.OutOrStdout(), "ready:", stream)
			}
			return nil
		},
	}
}

// client is the connection of a command that talks to a running system.
type client struct {
	*nats.Conn
	js  jetstream.JetStream
	cfg *config.Config
}

// dial connects a command by the settings of the environment, without waiting.
func dial(ctx context.Context, command string) (*client, error) {
	cfg, err := config.Load()
	if err != nil {
		return nil, usageError("%w", err)
	}
	nc, err := natsconn.Connect(ctx, natsconn.Config{
		URL: cfg.ClientURL(), Creds: cfg.NATS.Creds, CA: cfg.NATS.CA, Cert: cfg.NATS.Cert, Key: cfg.NATS.Key,
		Command: command, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	if err := natsconn.CheckServer(nc); err != nil {
		nc.Close()
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	return &client{nc, js, cfg}, nil
}
