package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

func newFailedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "failed",
		Short: "List failed requests or retry them",
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
				l := &resultReader{js: c.js, lookups: c.lookups, warn: cmd.ErrOrStderr()}
				return l.eachFailed(ctx, selection{subject: events.ResultFilter(t, "", events.Failed), since: since}, func(f *storedResult) error {
					return printResult(cmd.OutOrStdout(), output, f)
				})
			}, readResults)
		},
	}
	addTargetFlag(cmd, &target)
	cmd.Flags().DurationVar(&since, "since", 0, "only results at most this old, such as 24h")
	addOutputFlag(cmd, &output)
	return cmd
}

func newFailedReplayCommand() *cobra.Command {
	var target, output string
	var since time.Duration
	var all bool
	cmd := &cobra.Command{
		Use:   "replay (ID... | --all)",
		Short: "Retry failed requests",
		Long: `Replay publishes failed requests again. Each gets a new final result after the
failed one. Nothing else ever adds a final result to a request that has one, so
this is a person's decision. Replaying a request twice has no further effect.`,
		Example: `  lethe failed replay 0192f0c1-7c1e-7b6e-a8f4-0c7c3a5f1d11
  lethe failed replay --all --target sensay-knowledge-base --since 24h`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			t, err := checkTarget("--target", target)
			if err != nil {
				return err
			}
			if err := oneOf(cmd, "ID", len(ids) > 0, "--all", all); err != nil {
				return err
			}
			for _, id := range ids {
				if err := checkRequestID("ID", id); err != nil {
					return err
				}
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			if all {
				ids = []string{""}
			}
			return withTracedClient(cmd, "failed replay", func(ctx context.Context, c *client) error {
				r := &replayer{resultReader: &resultReader{js: c.js, warn: cmd.ErrOrStderr()}, out: cmd.OutOrStdout(), output: output}
				var problems []string
				for _, id := range ids {
					before := r.found
					of := selection{subject: events.ResultFilter(t, id, events.Failed), since: since}
					if err := r.eachFailed(ctx, of, func(f *storedResult) error { return r.replay(ctx, f) }); err != nil {
						return err
					}
					if r.found == before && !all {
						problems = append(problems, "no failed request has the id "+id)
					}
				}
				if problems = append(problems, r.unusable...); len(problems) > 0 {
					return errors.New(strings.Join(problems, "; "))
				}
				return nil
			})
		},
	}
	addTargetFlag(cmd, &target)
	cmd.Flags().DurationVar(&since, "since", 0, "only results at most this old, such as 24h")
	cmd.Flags().BoolVar(&all, "all", false, "replay every failed request")
	addOutputFlag(cmd, &output)
	return cmd
}

// eachFailed calls do for each request of the selection whose newest result is
// failed.
func (l *resultReader) eachFailed(ctx context.Context, of selection, do func(*storedResult) error) error {
	stream, err := l.js.Stream(ctx, events.StreamResults)
	if err != nil {
		return readError(err)
	}
	return l.each(ctx, of, func(r *storedResult) (bool, error) {
		newest, err := l.newestOn(ctx, stream, r.Target, r.RequestID)
		if err != nil {
			return false, err
		}
		if newest == nil || newest.seq != r.seq {
			return true, nil // it has a newer result
		}
		return true, do(r)
	})
}

// replayer publishes failed requests again.
type replayer struct {
	*resultReader
	out      io.Writer
	output   string
	found    int
	unusable []string // failed requests that cannot be published again
}

func (r *replayer) replay(ctx context.Context, f *storedResult) error {
	r.found++
	msg, err := ledger.Replay(f.Result, f.seq)
	if err != nil {
		// It must not stop the others.
		r.unusable = append(r.unusable, fmt.Sprintf("%s cannot be replayed: %v", f.RequestID, err))
		return nil
	}
	// The replay belongs to the request's trace.
	sent := beginSend(otel.GetTextMapPropagator().Extract(ctx, ledger.HeaderCarrier(f.header)), msg, f.RequestID)
	ack, err := r.js.PublishMsg(ctx, msg)
	sent(err)
	if err != nil {
		return fmt.Errorf("replay %s: %w", f.RequestID, err)
	}
	if r.output == "json" {
		return printJSON(r.out, publication{ID: f.RequestID, Target: f.Target, Sequence: ack.Sequence, Duplicate: ack.Duplicate})
	}
	action := "replayed"
	if ack.Duplicate {
		action = "already replayed"
	}
	_, err = fmt.Fprintf(r.out, "%s  %s  %s\n", action, f.Target, f.RequestID)
	return err
}
