package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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
	if strings.ContainsAny(f.id, ".*> \t") {
		return "", usageError("--id: %q is no request id", f.id)
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
		return eachResult(ctx, c.js, subject, f.since, f.follow, func(_ uint64, body []byte, r events.Result) (bool, error) {
			if len(f.outcomes) > 0 && !slices.Contains(f.outcomes, string(r.Outcome)) {
				return true, nil
			}
			printed++
			return f.limit == 0 || printed < f.limit, printResult(cmd.OutOrStdout(), f.output, body, r)
		})
	})
	if f.follow && errors.Is(err, context.Canceled) {
		return nil // interrupted, as it must be
	}
	return err
}

// printResult prints a result as a line for people, or its event as it is.
func printResult(w io.Writer, output string, body []byte, r events.Result) error {
	if output == "json" {
		return printJSON(w, json.RawMessage(body))
	}
	_, err := fmt.Fprintln(w, resultLine(r))
	return err
}

// eachResult calls do for every stored result on the subject, oldest first, and
// with follow for every new one, until do says no. It needs no more memory for
// more results.
func eachResult(ctx context.Context, js jetstream.JetStream, subject string, since time.Duration, follow bool,
	do func(seq uint64, body []byte, r events.Result) (more bool, err error)) error {
	config := jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, InactiveThreshold: time.Minute}
	if since > 0 {
		from := time.Now().Add(-since)
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
	}
	consumer, err := js.OrderedConsumer(ctx, events.StreamResults, config)
	if err != nil {
		return fmt.Errorf("read %s: %w", events.StreamResults, err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", events.StreamResults, err)
	}
	defer func() {
		// Otherwise it would stay on the server until it has been idle for long.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if info := consumer.CachedInfo(); info != nil {
			_ = js.DeleteConsumer(ctx, events.StreamResults, info.Name)
		}
	}()
	if info.NumPending == 0 && !follow {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read %s: %w", events.StreamResults, err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read %s: %w", events.StreamResults, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", events.StreamResults, err)
		}
		result, err := events.ReadResult(msg.Headers(), msg.Data())
		if err != nil {
			return fmt.Errorf("message %d of %s is no result: %w", meta.Sequence.Stream, events.StreamResults, err)
		}
		more, err := do(meta.Sequence.Stream, msg.Data(), result)
		if err != nil || !more || meta.NumPending == 0 && !follow {
			return err
		}
	}
}
