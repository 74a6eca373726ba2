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
		Short: "Create or update the streams, consumers and the control bucket",
		Long: `Setup creates the streams DELETION_REQUESTS, DELETION_RESULTS and DELETION_LATER
with a consumer for each lane, and the bucket lethe-control with a key for each
lane, or updates them without data loss. It keeps the limits, ack_wait and
max_ack_pending that you set; it raises replicas, ages and sizes but never
lowers them. It refuses a stream whose settings could drop a request, and names
the setting. If one stream is missing and others exist, setup creates it and
prints what may be lost.

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
				// Servers do not answer while they elect a leader, so repeat it.
				err := untilReady(ctx, slog.New(slog.DiscardHandler), c.cfg, func(ctx context.Context) error {
					if err := natsconn.CheckDomains(ctx, c.js, map[string]string{events.RequestSubject(events.KVUserContext): events.StreamRequests}); err != nil {
						return err
					}
					return streams.Setup(ctx, c.js, settings)
				})
				if err != nil {
					return err
				}
				for _, stream := range []string{events.StreamRequests, events.StreamResults, events.StreamLater, streams.Control} {
					fmt.Fprintln(cmd.OutOrStdout(), "ready:", stream)
				}
				return nil
			}, "deletions.requests.") // without this permission, other domains are not checked
		},
	}
}

// printCreated prints what was created, and what may be lost if it was missing.
func printCreated(w io.Writer, c streams.Created) {
	name := c.Stream
	if c.Consumer != "" {
		name += ", consumer " + c.Consumer
	}
	if c.Key != "" {
		name += ", key " + c.Key
	}
	if c.Lost == "" {
		_, _ = fmt.Fprintln(w, "created:", name)
		return
	}
	_, _ = fmt.Fprintf(w, "created: %s, which was missing: %s\n", name, c.Lost)
}
