package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
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
			return withClient(cmd, "setup", func(ctx context.Context, c *client) error {
				ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
				defer cancel()
				// Servers that are choosing a leader let a try wait for nothing.
				err := untilReady(ctx, slog.New(slog.DiscardHandler), func(ctx context.Context) error {
					return consumer.Setup(ctx, c.js, streamSettings(c.cfg))
				})
				if err != nil {
					return err
				}
				for _, stream := range []string{events.StreamRequests, events.StreamResults, events.StreamLater} {
					fmt.Fprintln(cmd.OutOrStdout(), "ready:", stream)
				}
				return nil
			})
		},
	}
}
