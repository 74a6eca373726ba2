package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/telemetry"
)

type requestFlags struct {
	ids          []int64
	replica      string
	entry        int64
	id, source   string
	file, format string
	output       string
	wait         bool
	timeout      time.Duration
}

func newRequestCommand() *cobra.Command {
	var f requestFlags
	cmd := &cobra.Command{
		Use:   "request (TARGET | --file FILE)",
		Short: "Publish deletion requests: one by flags, or many from a file",
		Long: `Request publishes one deletion request by flags, or many from a file.

A file is CSV with a header (target, ids, replica_uuid, knowledge_base_id, id,
source; ids with spaces between) or NDJSON: on each line a whole CloudEvent, or
{"target":"kv-user-context","ids":[10]}, or {"target":"sensay-knowledge-base",
"replica_uuid":"…","knowledge_base_id":5}. A row without an id gets one that is
made of its source and content and of how often the file has had it before, so
that a file which is published again after an interruption asks for nothing
twice. Rows that are wrong are counted and named by their line; the others go on.`,
		Example: `  lethe request kv-user-context --id 10,11 --wait
  lethe request sensay-knowledge-base --replica 03db5651-cb61-4bdf-9ef0-89561f7c9c53 --entry 12345
  lethe request --file erasures.csv`,
		ValidArgs: targetNames(),
		Args:      cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := f.rows(cmd, args)
			if err != nil {
				return err
			}
			defer rows.close()
			return publishRows(cmd, f, rows)
		},
	}
	flags := cmd.Flags()
	flags.Int64SliceVar(&f.ids, "id", nil, "kv-user-context: a context id; several with commas between, or the flag again")
	flags.StringVar(&f.replica, "replica", "", "sensay-knowledge-base: the replica's UUID")
	flags.Int64Var(&f.entry, "entry", 0, "sensay-knowledge-base: the entry's id")
	flags.StringVar(&f.id, "request-id", "", "the request's own id (none: a new UUID)")
	flags.StringVar(&f.source, "source", "/lethe/request", "who asks, a URI-reference")
	flags.StringVar(&f.file, "file", "", "publish the requests in this file, - for standard input")
	flags.StringVar(&f.format, "format", "", "the file's format: csv or ndjson (none: by its name's ending)")
	flags.BoolVar(&f.wait, "wait", false, "wait for the final results and print them")
	flags.DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait for results, and for a full stream to take more")
	addOutputFlag(cmd, &f.output)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"csv", "ndjson"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// rows reads the command line into requests to be published.
func (f requestFlags) rows(cmd *cobra.Command, args []string) (*rows, error) {
	if err := checkOutput(f.output); err != nil {
		return nil, err
	}
	if f.timeout <= 0 {
		return nil, usageError("--timeout: must be positive")
	}
	if (f.file == "") == (len(args) == 0) {
		return nil, usageError("lethe request: name a target, or a file with --file")
	}
	if f.file != "" {
		for _, name := range []string{"id", "replica", "entry", "request-id"} {
			if cmd.Flags().Changed(name) {
				return nil, usageError("--%s: goes with a target, not with --file", name)
			}
		}
		return openRows(f, cmd.InOrStdin())
	}
	target, err := checkTarget("TARGET", args[0])
	if err != nil {
		return nil, err
	}
	request, err := f.one(cmd, target)
	if err != nil {
		return nil, err
	}
	return oneRow(request), nil
}

// one is the request that the flags describe.
func (f requestFlags) one(cmd *cobra.Command, target events.Target) (events.Request, error) {
	var res events.Resource
	var foreign []string
	switch target {
	case events.KVUserContext:
		res, foreign = events.UserContexts{IDs: f.ids}, []string{"replica", "entry"}
	case events.SensayKnowledgeBase:
		foreign = []string{"id"}
		replica, err := uuid.Parse(f.replica)
		if err != nil {
			return events.Request{}, usageError("--replica: must be a UUID, not %q", f.replica)
		}
		res = events.KnowledgeBaseEntry{ReplicaUUID: replica, KnowledgeBaseID: f.entry}
	}
	for _, name := range foreign {
		if cmd.Flags().Changed(name) {
			return events.Request{}, usageError("--%s: is not for %s", name, target)
		}
	}
	request := events.NewRequest(f.source, res)
	if f.id != "" {
		request.ID = f.id
	}
	if _, err := request.Encode(); err != nil {
		return events.Request{}, usageError("%w", err)
	}
	return request, nil
}

// publishRows publishes all rows, waits for their results if asked to, and says
// what came of it.
func publishRows(cmd *cobra.Command, f requestFlags, rows *rows) error {
	// A publisher may not be allowed to look at what is there.
	without := []string{"$JS.API.STREAM.INFO.", "$JS.API.STREAM.MSG.GET.", "$JS.API.DIRECT.GET."}
	if f.wait {
		without = nil
	}
	return withClient(cmd, "request", func(ctx context.Context, c *client) error {
		tel, err := telemetry.Setup(ctx, telemetry.Config{
			ServiceVersion: buildVersion(), LogLevel: c.cfg.LogLevel, LogFormat: c.cfg.LogFormat, Stderr: cmd.ErrOrStderr(),
		})
		if err != nil {
			return usageError("%w", err)
		}
		defer flush(ctx, tel)
		return f.publish(ctx, cmd, c, rows)
	}, without...)
}

func (f requestFlags) publish(ctx context.Context, cmd *cobra.Command, c *client, rows *rows) error {
	p := newPublisher(c.js, f.timeout)
	p.looks = c.looks
	var waiting *awaited
	if f.wait {
		var err error
		if waiting, err = awaitResults(ctx, c.js, rows.target); err != nil {
			return err
		}
		defer waiting.stop()
	}
	bar := rows.progress(cmd.ErrOrStderr())
	err := p.publishAll(ctx, rows, func(published publication) error {
		if waiting != nil {
			waiting.expect(published)
		}
		if rows.file != nil && f.output != "json" || f.wait {
			return nil
		}
		return published.print(cmd.OutOrStdout(), f.output)
	})
	bar()
	if rows.file != nil || p.refused() > 0 {
		p.summary(cmd.ErrOrStderr())
	}
	if err != nil {
		return err
	}
	if waiting != nil {
		err = waiting.print(ctx, f.timeout, func(body []byte, r events.Result) error {
			return printResult(cmd.OutOrStdout(), f.output, body, r)
		})
	}
	if err == nil && p.refused() > 0 {
		return silentError{}
	}
	return err
}

// publication is a request that the stream has taken.
type publication struct {
	ID        string        `json:"id"`
	Target    events.Target `json:"target"`
	Sequence  uint64        `json:"sequence"`
	Duplicate bool          `json:"duplicate"`
}

func (p publication) print(w io.Writer, output string) error {
	if output == "json" {
		return printJSON(w, p)
	}
	_, err := fmt.Fprintln(w, p.ID)
	return err
}

// errMissing says that results did not come in time.
type errMissing struct{ missing, of int }

func (e errMissing) Error() string {
	return fmt.Sprintf("%d of %d requests have no final result yet", e.missing, e.of)
}

// openInput opens a file, or standard input for "-".
func openInput(name string, stdin io.Reader) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(stdin), -1, nil
	}
	file, err := os.Open(name)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, 0, usageError("--file %s: %w", name, err)
	}
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		_ = file.Close()
		return nil, 0, usageError("--file %s: is not a file", name)
	}
	return file, info.Size(), nil
}
