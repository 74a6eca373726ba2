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
	limit, tail        int
	follow             bool
}

func newResultsCommand() *cobra.Command {
	var f resultsFlags
	cmd := &cobra.Command{
		Use:   "results",
		Short: "Print results, oldest first",
		Example: `  lethe results --follow
  lethe results --tail 20 --follow
  lethe results --outcome failed --outcome invalid --since 24h
  lethe results --id 0192f0c1-7c1e-7b6e-a8f4-0c7c3a5f1d11 --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("tail") && f.tail < 0 {
				return usageError("--tail: must not be negative")
			}
			return printResults(cmd, f)
		},
	}
	flags := cmd.Flags()
	addTargetFlag(cmd, &f.target)
	flags.StringSliceVar(&f.outcomes, "outcome", nil, "only these outcomes (deleted, accepted-pending, not-found, invalid, failed)")
	flags.StringVar(&f.id, "id", "", "only results of the request with this `request-id` (not a context id)")
	flags.DurationVar(&f.since, "since", 0, "only results at most this old, such as 24h")
	flags.IntVar(&f.limit, "limit", 0, "stop after this many results; 0: no limit")
	flags.IntVar(&f.tail, "tail", -1, "only this many of the newest results; with --follow, new ones after them (none: all)")
	flags.Lookup("tail").DefValue = "0" // hides the default in the help
	flags.BoolVarP(&f.follow, "follow", "f", false, "also print new results until interrupted")
	addOutputFlag(cmd, &f.output)
	return cmd
}

// subject returns the subject filter for the server. Several outcomes are filtered
// here instead, because permissions cannot restrict a consumer with several filters
// to results.
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
	if f.limit < 0 {
		return "", usageError("--limit: must not be negative")
	}
	var outcome events.Outcome
	for _, name := range f.outcomes {
		o := events.Outcome(name)
		if !slices.Contains(events.Outcomes(), o) {
			return "", usageError("--outcome: must be one of deleted, accepted-pending, not-found, invalid, failed, not %q", name)
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
	show := func(r *storedResult) (more bool, err error) {
		if !f.matches(r) {
			return true, nil
		}
		printed++
		return f.limit == 0 || printed < f.limit, printResult(cmd.OutOrStdout(), f.output, r)
	}
	err = withClient(cmd, "results", func(ctx context.Context, c *client) error {
		l := &resultReader{js: c.js, lookups: c.lookups, warn: cmd.ErrOrStderr()}
		of := selection{subject: subject, since: f.since, follow: f.follow}
		if f.tail < 0 {
			return l.each(ctx, of, show)
		}
		newest, read, err := l.tail(ctx, selection{subject: subject, since: f.since}, f.tail, f.matches)
		if err != nil {
			return err
		}
		for _, r := range newest {
			if more, err := show(r); !more || err != nil {
				return err
			}
		}
		if !f.follow {
			return nil
		}
		return l.each(ctx, selection{subject: subject, from: read + 1, follow: true}, show)
	}, readResults)
	if f.follow && errors.Is(err, context.Canceled) {
		return nil // an interruption is the only way to end it
	}
	if err == nil && f.id != "" && printed == 0 {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "lethe: %s has no %sresult; `lethe show %s` shows its state\n", f.id, f.kind(), f.id)
	}
	return err
}

// kind returns "such " if only some results of a request were requested.
func (f resultsFlags) kind() string {
	if len(f.outcomes) > 0 || f.since > 0 {
		return "such "
	}
	return ""
}

// matches filters by outcome if the subject filter does not.
func (f resultsFlags) matches(r *storedResult) bool {
	return len(f.outcomes) == 0 || slices.Contains(f.outcomes, string(r.Outcome))
}

// printResult prints a result as a line of text, or as its event.
func printResult(w io.Writer, output string, r *storedResult) error {
	if output == "json" {
		return printJSON(w, json.RawMessage(r.body))
	}
	_, err := fmt.Fprintln(w, resultLine(r.Result))
	return err
}
