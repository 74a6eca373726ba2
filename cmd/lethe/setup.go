package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/streams"
)

func newSetupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "setup",
		Short: "Create or update the streams and consumers",
		Long: `Setup creates the streams DELETION_REQUESTS, DELETION_RESULTS and DELETION_LATER
with a consumer for each lane, or updates them without loss: limits, ack_wait and
max_ack_pending that you set stay, replicas and ages are raised and never lowered.
A stream whose settings could drop a request is refused by name. A stream that is
missing beside the others is created, and what may be lost with it is said.

It uses LETHE_NATS_URL (none: the embedded server of a running Lethe),
LETHE_STREAM_REPLICAS, LETHE_RESULTS_MAX_AGE, LETHE_REQUESTS_MAX_BYTES,
LETHE_RESULTS_MAX_BYTES and LETHE_LATER_MAX_BYTES.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClient(cmd, "setup", func(ctx context.Context, c *client) error {
				ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
				defer cancel()
				settings := streamSettings(c.cfg)
				settings.Created = func(created streams.Created) { printCreated(cmd.OutOrStdout(), created) }
				// Servers that are choosing a leader let a try wait for nothing.
				err := untilReady(ctx, slog.New(slog.DiscardHandler), c.cfg, func(ctx context.Context) error {
					if err := natsconn.CheckDomains(ctx, c.js, map[string]string{events.RequestSubject(events.KVUserContext): events.StreamRequests}); err != nil {
						return err
					}
					return streams.Setup(ctx, c.js, settings)
				})
				if err != nil {
					return err
				}
				for _, stream := range []string{events.StreamRequests, events.StreamResults, events.StreamLater} {
					fmt.Fprintln(cmd.OutOrStdout(), "ready:", stream)
				}
				return nil
			}, "deletions.requests.") // another domain is found out only where it may be published
		},
	}
}

// printCreated says what was missing, and what that may have cost.
func printCreated(w io.Writer, c streams.Created) {
	what := c.Stream
	if c.Consumer != "" {
		what += ", consumer " + c.Consumer
	}
	if c.Lost == "" {
		_, _ = fmt.Fprintln(w, "created:", what)
		return
	}
	_, _ = fmt.Fprintf(w, "created: %s, which was missing: %s\n", what, c.Lost)
}
