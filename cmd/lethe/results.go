package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/events"
)

type resultsFlags struct {
	target, id, output string
	outcomes           []string
	since              time.Duration
	limit              int
	follow             bool
}

func newResultsCommand() *cobra.Command {
	var f resultsFlags
	cmd := &cobra.Command{
		Use:   "results",
		Short: "Print results, oldest first",
		Example: `  lethe results --follow
  lethe results --outcome failed --outcome invalid --since 24h
  lethe results --id 0192f0c1-7c1e-7b6e-a8f4-0c7c3a5f1d11 --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return printResults(cmd, f) },
	}
	flags := cmd.Flags()
	addTargetFlag(cmd, &f.target)
	flags.StringSliceVar(&f.outcomes, "outcome", nil, "only these outcomes (deleted, accepted-pending, not-found, invalid, failed)")
	flags.StringVar(&f.id, "id", "", "only this request")
	flags.DurationVar(&f.since, "since", 0, "only results that are at most this old, such as 24h")
	flags.IntVar(&f.limit, "limit", 0, "stop after so many results, 0 for no limit")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with new results until interrupted")
	addOutputFlag(cmd, &f.output)
	return cmd
}

// subject is the one filter that the server is asked for. Several outcomes are
// told apart here: a consumer of several filters is one that a server's
// permissions cannot bound to results.
func (f resultsFlags) subject() (string, error) {
	target, err := checkTarget("--target", f.target)
	if err != nil {
		return "", err
	}
	if f.id != "" {
		if err := checkRequestID("--id", f.id); err != nil {
			return "", err
		}
	}
	if f.since < 0 || f.limit < 0 {
		return "", usageError("--since and --limit: must not be negative")
	}
	var outcome events.Outcome
	for _, name := range f.outcomes {
		o := events.Outcome(name)
		if !slices.Contains(events.Outcomes(), o) {
			return "", usageError("--outcome: %q is none of deleted, accepted-pending, not-found, invalid, failed", name)
		}
		if len(f.outcomes) == 1 {
			outcome = o
		}
	}
	return events.ResultFilter(target, f.id, outcome), checkOutput(f.output)
}

func printResults(cmd *cobra.Command, f resultsFlags) error {
	subject, err := f.subject()
	if err != nil {
		return err
	}
	printed := 0
	err = withClient(cmd, "results", func(ctx context.Context, c *client) error {
		l := &ledger{js: c.js, warn: cmd.ErrOrStderr()}
		return l.each(ctx, selection{subject, f.since, f.follow}, func(r *storedResult) (bool, error) {
			if len(f.outcomes) > 0 && !slices.Contains(f.outcomes, string(r.Outcome)) {
				return true, nil
			}
			printed++
			return f.limit == 0 || printed < f.limit, printResult(cmd.OutOrStdout(), f.output, r)
		})
	})
	if f.follow && errors.Is(err, context.Canceled) {
		return nil // interrupted, as it must be
	}
	return err
}

// printResult prints a result as a line for people, or its event as it is.
func printResult(w io.Writer, output string, r *storedResult) error {
	if output == "json" {
		return printJSON(w, json.RawMessage(r.body))
	}
	_, err := fmt.Fprintln(w, resultLine(r.Result))
	return err
}
