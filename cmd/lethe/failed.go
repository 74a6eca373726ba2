package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
)

func newFailedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "failed",
		Short: "List the requests that failed, or try them again",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newFailedListCommand(), newFailedReplayCommand())
	return cmd
}

func newFailedListCommand() *cobra.Command {
	var target, output string
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the requests whose newest result is failed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := checkTarget("--target", target)
			if err != nil {
				return err
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			return withClient(cmd, "failed list", func(ctx context.Context, c *client) error {
				return eachFailed(ctx, c.js, events.ResultFilter(t, "", events.Failed), since, func(f failure) error {
					return printResult(cmd.OutOrStdout(), output, f.body, f.Result)
				})
			})
		},
	}
	addTargetFlag(cmd, &target)
	cmd.Flags().DurationVar(&since, "since", 0, "only results that are at most this old, such as 24h")
	addOutputFlag(cmd, &output)
	return cmd
}

func newFailedReplayCommand() *cobra.Command {
	var target string
	var since time.Duration
	var all bool
	cmd := &cobra.Command{
		Use:   "replay (ID... | --all)",
		Short: "Try failed requests again",
		Long: `Replay publishes failed requests again. Each gets a newer final result, which
follows the failed one. It is your decision: nothing else ever adds a final
result to a request that has one. Replaying twice is replaying once.`,
		Example: `  lethe failed replay 0192f0c1-7c1e-7b6e-a8f4-0c7c3a5f1d11
  lethe failed replay --all --target sensay-knowledge-base --since 24h`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			t, err := checkTarget("--target", target)
			if err != nil {
				return err
			}
			if all == (len(ids) > 0) {
				return usageError("lethe failed replay: name the requests, or all of them with --all")
			}
			if all {
				ids = []string{""}
			}
			return withClient(cmd, "failed replay", func(ctx context.Context, c *client) error {
				var missing []error
				for _, id := range ids {
					found := false
					err := eachFailed(ctx, c.js, events.ResultFilter(t, id, events.Failed), since, func(f failure) error {
						found = true
						return replay(ctx, cmd.OutOrStdout(), c.js, f)
					})
					if err != nil {
						return err
					}
					if !found && id != "" {
						missing = append(missing, fmt.Errorf("%s has not failed", id))
					}
				}
				return errors.Join(missing...)
			})
		},
	}
	addTargetFlag(cmd, &target)
	cmd.Flags().DurationVar(&since, "since", 0, "only results that are at most this old, such as 24h")
	cmd.Flags().BoolVar(&all, "all", false, "every request that has failed")
	return cmd
}

// failure is a failed result that is a request's newest.
type failure struct {
	events.Result
	body json.RawMessage
	seq  uint64
}

// eachFailed calls do for each request whose newest result is failed.
func eachFailed(ctx context.Context, js jetstream.JetStream, subject string, since time.Duration, do func(failure) error) error {
	stream, err := js.Stream(ctx, events.StreamResults)
	if err != nil {
		return fmt.Errorf("stream %s: %w", events.StreamResults, err)
	}
	return eachResult(ctx, js, subject, since, false, func(seq uint64, body []byte, r events.Result) (bool, error) {
		newest, err := stream.GetLastMsgForSubject(ctx, events.ResultFilter(r.Target, r.RequestID, ""))
		if err != nil {
			return false, fmt.Errorf("the newest result of %s: %w", r.RequestID, err)
		}
		if newest.Sequence != seq {
			return true, nil // it was replayed
		}
		return true, do(failure{r, body, seq})
	})
}

func replay(ctx context.Context, w io.Writer, js jetstream.JetStream, f failure) error {
	msg, err := consumer.Replay(f.Result, f.seq)
	if err != nil {
		return fmt.Errorf("replay %s: %w", f.RequestID, err)
	}
	inject(ctx, msg)
	ack, err := js.PublishMsg(ctx, msg)
	if err != nil {
		return fmt.Errorf("replay %s: %w", f.RequestID, err)
	}
	said := "replayed"
	if ack.Duplicate {
		said = "already replayed"
	}
	_, err = fmt.Fprintf(w, "%s  %s  %s\n", said, f.Target, f.RequestID)
	return err
}
