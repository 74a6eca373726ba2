package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/events"
)

type requestFlags struct {
	ids                 ids
	replica             string
	entry               oneID
	id, source          string
	file, format, batch string
	output              string
	wait, dryRun        bool
	timeout             time.Duration
}

func newRequestCommand() *cobra.Command {
	var f requestFlags
	cmd := &cobra.Command{
		Use:   "request (TARGET | --file FILE)",
		Short: "Publish deletion requests: one by flags, or many from a file",
		Long: `Request publishes one deletion request by flags, or many from a file.

A file is UTF-8 text with one record per line. A CSV file has a header with some
of target, ids, replica_uuid, knowledge_base_id, id and source, commas between
the columns, and ; between several ids in one cell. A line of an NDJSON file is
a CloudEvent, or {"target":"kv-user-context","ids":[10]}, or
{"target":"sensay-knowledge-base","replica_uuid":"…","knowledge_base_id":5},
optionally with id and source. Rows are read as strictly as events. An invalid
row is counted and reported with its line number; the others are published.

A row without an id gets one, derived from the batch, the target, the resource
and the number of earlier rows with the same resource. The batch is the name
given by --batch, else the file's SHA-256. Publishing a file again, after an
interruption or by mistake, therefore requests nothing twice. The summary counts
the requests that were published or answered before. If nothing was new, the
exit status is 1 unless --batch was given. Standard input needs --batch, or an
id on every row.`,
		Example: `  lethe request kv-user-context --id 10,11 --wait
  lethe request sensay-knowledge-base --replica 03db5651-cb61-4bdf-9ef0-89561f7c9c53 --entry 12345
  lethe request --file erasures.csv --dry-run
  lethe request --file erasures.csv
  crm-export | lethe request --file - --format csv --batch 2026-11-23`,
		ValidArgs: targetNames(),
		Args:      cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := f.rows(cmd, args)
			if err != nil {
				return err
			}
			defer rows.close()
			if f.dryRun {
				return f.checkRows(cmd, rows)
			}
			return publishRows(cmd, f, rows)
		},
	}
	flags := cmd.Flags()
	flags.Var(&f.ids, "id", "kv-user-context: the `context-id` to delete (the request's own id is --request-id); several separated by commas, or repeat the flag")
	flags.StringVar(&f.replica, "replica", "", "sensay-knowledge-base: the `UUID` of the replica")
	flags.Var(&f.entry, "entry", "sensay-knowledge-base: the `entry-id` to delete")
	flags.StringVar(&f.id, "request-id", "", "the `id` of this request, under which its result is published; not the id of a context or an entry (none: a new UUID)")
	flags.StringVar(&f.source, "source", "/lethe/request", "the system that requests the deletion, a URI-reference")
	flags.StringVar(&f.file, "file", "", "publish the requests in this file; -: standard input")
	flags.StringVar(&f.format, "format", "", "the file's format: csv or ndjson (none: by its extension)")
	flags.StringVar(&f.batch, "batch", "", "name from which rows without an id get one (none: the file's SHA-256)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "check and count the rows, but publish nothing; needs no NATS")
	flags.BoolVar(&f.wait, "wait", false, "wait for the final results and print them")
	flags.DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait for results, and for space in a full stream")
	addOutputFlag(cmd, &f.output)
	groupFlags(cmd,
		flagGroup{"One request", []string{"id", "replica", "entry", "request-id"}},
		flagGroup{"Many, from a file", []string{"file", "format", "batch", "dry-run"}},
		flagGroup{"Both", []string{"source", "wait", "timeout", "output", "help"}},
	)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"csv", "ndjson"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// rows returns the requests to publish.
func (f requestFlags) rows(cmd *cobra.Command, args []string) (*rows, error) {
	if err := checkOutput(f.output); err != nil {
		return nil, err
	}
	if f.timeout <= 0 {
		return nil, usageError("--timeout: must be positive")
	}
	if f.wait && f.dryRun {
		return nil, usageError("--wait: cannot be used with --dry-run, which publishes nothing")
	}
	if err := oneOf(cmd, "TARGET", len(args) > 0, "--file", f.file != ""); err != nil {
		return nil, err
	}
	if f.file != "" {
		for _, name := range []string{"id", "replica", "entry", "request-id"} {
			if cmd.Flags().Changed(name) {
				return nil, usageError("--%s: needs a target and cannot be used with --file", name)
			}
		}
		if err := checkBatch(f.batch); err != nil {
			return nil, err
		}
		return openRows(cmd.Context(), f, cmd.InOrStdin())
	}
	for _, name := range []string{"batch", "format"} {
		if cmd.Flags().Changed(name) {
			return nil, usageError("--%s: needs --file", name)
		}
	}
	if args[0] == "" {
		return nil, usageError("TARGET: is empty")
	}
	target, err := checkTarget("TARGET", args[0])
	if err != nil {
		return nil, err
	}
	return f.one(cmd, target)
}

// resourceFlags are the flags for the fields of data that name a resource.
var resourceFlags = []struct{ flag, field string }{
	{"id", "ids"}, {"replica", "replica_uuid"}, {"entry", "knowledge_base_id"},
}

// one returns the request that the flags describe.
func (f requestFlags) one(cmd *cobra.Command, target events.Target) (*rows, error) {
	own := target.Fields()
	for _, r := range resourceFlags {
		switch given, takes := cmd.Flags().Changed(r.flag), slices.Contains(own, r.field); {
		case given && !takes:
			return nil, usageError("--%s: cannot be used with %s", r.flag, target)
		case !given && takes:
			return nil, usageError("--%s: is missing", r.flag)
		}
	}
	res, err := events.NewResource(target, events.ResourceFields{IDs: f.ids, ReplicaUUID: f.replica, KnowledgeBaseID: int64(f.entry)})
	var invalid *events.InvalidError
	if errors.As(err, &invalid) {
		return nil, usageError("%s: %s", flagOf(invalid.Field), invalid.Reason)
	}
	if err != nil {
		return nil, usageError("%w", err)
	}
	request := events.NewRequest(f.source, res)
	if f.id != "" {
		request.ID = f.id
	}
	event, err := request.Encode()
	if errors.As(err, &invalid) {
		return nil, usageError("%s: %s", flagOf(invalid.Field), invalid.Reason)
	}
	if err != nil {
		return nil, usageError("%w", err)
	}
	return oneRow(request, event, f.id == ""), nil
}

// flagOf returns the flag that sets a field of the event.
func flagOf(field string) string {
	flags := map[string]string{"id": "--request-id", "source": "--source", "data.replica_uuid": "--replica", "data.knowledge_base_id": "--entry"}
	if name, ok := flags[field]; ok {
		return name
	}
	if strings.HasPrefix(field, "data.ids") {
		return "--id"
	}
	return field
}

// checkRows reads all rows and prints what would be published.
func (f requestFlags) checkRows(cmd *cobra.Command, rows *rows) error {
	ctx, t := cmd.Context(), tally{reasons: map[string]int{}}
	var failed error
	for ctx.Err() == nil && failed == nil {
		row, err := rows.next()
		var wrong *rowError
		switch {
		case errors.Is(err, io.EOF):
			failed = io.EOF
		case errors.As(err, &wrong):
			t.refuse("invalid row", wrong)
		case err != nil:
			failed = fmt.Errorf("--file: %w", err)
		default:
			t.added++
			if f.output == "json" {
				failed = publication{ID: row.ID, Target: row.Target()}.print(cmd.OutOrStdout(), f.output)
			}
		}
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "dry run: %d valid, %d refused; nothing was published\n", t.added, t.refused())
	t.refusals(cmd.ErrOrStderr())
	if rows.batch != "" {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "batch %s\n", rows.batch)
	}
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case !errors.Is(failed, io.EOF):
		return failed
	case t.refused() > 0:
		return silentError{}
	}
	return nil
}

// publishRows publishes all rows, waits for their results with --wait, and prints a
// summary.
func publishRows(cmd *cobra.Command, f requestFlags, rows *rows) error {
	// A publisher may lack the permission to read results.
	optional := []string{"$JS.API.STREAM.INFO.", "$JS.API.STREAM.MSG.GET.", "$JS.API.DIRECT.GET.", "$JS.API.CONSUMER."}
	if f.wait {
		optional = []string{readResults}
	}
	return withTracedClient(cmd, "request", func(ctx context.Context, c *client) error {
		return f.publish(ctx, cmd, c, rows)
	}, optional...)
}

func (f requestFlags) publish(ctx context.Context, cmd *cobra.Command, c *client, rows *rows) error {
	l := &resultReader{js: c.js, lookups: c.lookups, warn: cmd.ErrOrStderr()}
	p := newPublisher(c.js, newResultLookup(c.lookups, l), f.timeout) //nolint:contextcheck // derived from ctx: it ends with the permission to look up
	var waiting *awaited
	if f.wait {
		var err error
		waiting, err = awaitResults(ctx, l, rows.target, func(r *storedResult, before bool) error {
			if before && f.output != "json" {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  (answered before)\n", resultLine(r.Result))
				return err
			}
			return printResult(cmd.OutOrStdout(), f.output, r)
		})
		if err != nil {
			return err
		}
		defer waiting.stop()
	}
	bar := rows.progress(cmd.ErrOrStderr())
	err := p.publishAll(ctx, rows, func(published publication) error {
		if waiting != nil {
			return waiting.expect(ctx, published)
		}
		if rows.file != nil && f.output != "json" {
			return nil
		}
		return published.print(cmd.OutOrStdout(), f.output)
	})
	bar()
	if rows.file != nil || p.added == 0 || p.refused() > 0 {
		p.summary(cmd.ErrOrStderr(), rows.batch)
	}
	if err != nil {
		return err
	}
	if waiting != nil {
		if err := waiting.wait(ctx, f.timeout); err != nil {
			return err
		}
	}
	switch {
	case p.refused() > 0:
		return silentError{}
	case rows.file != nil && p.published+p.answered+p.added == 0 && f.batch == "":
		return errors.New("nothing to publish: the file contains no request")
	case rows.file != nil && p.added == 0 && f.batch == "":
		return errNothingNew
	}
	return nil
}
