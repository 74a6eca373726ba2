package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/history"
)

func newShowCommand() *cobra.Command {
	var target, output string
	var seq uint64
	cmd := &cobra.Command{
		Use:   "show (ID | --seq N)",
		Short: "Show one request's state and its whole history",
		Long: `Show prints what is stored of one request: its state and the reason, each
attempt and result with its time, what the API answered, and the next step. A
request without a record is searched among the first 10,000 waiting messages of
each stream; --seq finds the message with a sequence of DELETION_REQUESTS at
once.

It exits with 1 if nothing is stored of the request.`,
		Example: `  lethe show 0192f0c1-7c1e-7b6e-a8f4-0c7c3a5f1d11
  lethe show seq-17
  lethe show --seq 17 --output json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := checkTarget("--target", target)
			if err != nil {
				return err
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			bySeq := cmd.Flags().Changed("seq")
			if err := oneOf(cmd, "ID", len(args) == 1, "--seq", bySeq); err != nil {
				return err
			}
			switch {
			case bySeq && seq == 0:
				return usageError("--seq: must be at least 1")
			case !bySeq:
				if err := checkRequestID("ID", args[0]); err != nil {
					return err
				}
			}
			s := show{targets: targetsOf(t), seq: seq, out: cmd.OutOrStdout(), output: output}
			if !bySeq {
				s.id = args[0]
				s.seq, _ = history.Sequence(s.id)
			}
			return withClient(cmd, "show", s.run, "$SRV.STATS."+serviceName)
		},
	}
	addTargetFlag(cmd, &target)
	cmd.Flags().Uint64Var(&seq, "seq", 0, "the message with this sequence of DELETION_REQUESTS")
	cmd.Flags().Lookup("seq").DefValue = "0" // hides the default in the help
	addOutputFlag(cmd, &output)
	return cmd
}

// targetsOf are the targets that a flag selects.
func targetsOf(t events.Target) []events.Target {
	if t == "" {
		return events.Targets()
	}
	return []events.Target{t}
}

// show prints one request.
type show struct {
	targets []events.Target
	id      string // "": by sequence
	seq     uint64 // 0: by id
	out     io.Writer
	output  string
}

func (s *show) run(ctx context.Context, c *client) error {
	reader := &history.Reader{JS: c.js, Messages: true}
	found, missing, err := findRequest(ctx, reader, s.id, s.seq, s.targets)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New(missing)
	}
	workers, err := askWorkers(c.lookups, c.Conn) //nolint:contextcheck // derived from ctx: it ends with the permission to ask
	if errors.Is(err, context.Canceled) || c.lookups.Err() != nil {
		workers, err = nil, nil // no permission to ask them
	} else if err == nil && workers == nil {
		workers = []workerStats{}
	}
	if err != nil {
		return err
	}
	for i, q := range found {
		if i > 0 && s.output == "text" {
			_, _ = fmt.Fprintln(s.out)
		}
		if err := s.print(q, laneReason(workers, q.Target), reader.Missing()); err != nil {
			return err
		}
	}
	return nil
}

// findRequest finds a request by its id, or by its sequence if that is not 0. If nothing
// is stored, missing is a message with what was searched.
func findRequest(ctx context.Context, reader *history.Reader, id string, seq uint64, targets []events.Target) (found []*history.Request, missing string, err error) {
	var searched history.Search
	if seq > 0 {
		found, err = reader.FindSequence(ctx, seq, targets...)
	} else {
		found, searched, err = reader.Find(ctx, id, targets...)
	}
	if err != nil || len(found) > 0 {
		return found, "", err
	}
	switch unsearched := searched.Waiting - searched.Searched; {
	case seq > 0:
		missing = fmt.Sprintf("message %d does not wait in %s, and nothing is stored under %s: if it existed, it is answered or scheduled under its own id; use `lethe show ID`",
			seq, events.StreamRequests, events.SequenceID(seq))
	case unsearched > 0:
		missing = fmt.Sprintf("nothing is stored under %s: it has no record and is not among the first %d of %d waiting messages; it is among the other %d, or was never stored (`lethe show --seq N` finds it)",
			id, searched.Searched, searched.Waiting, unsearched)
	default:
		missing = fmt.Sprintf("nothing is stored under %s: it has no record and is not among the %d waiting messages; it was never stored, or its records expired", id, searched.Waiting)
	}
	for _, stream := range reader.Missing() {
		missing += "; " + missingStream(stream)
	}
	return nil, missing, nil
}

// missingStream describes a missing stream and the fix.
func missingStream(name string) string {
	return fmt.Sprintf("the stream %s is missing, so what it contained is unknown; `lethe setup` creates it", name)
}

// laneReason returns why no worker calls for a target at full speed, "" if one does.
// workers is nil if they could not be asked.
func laneReason(workers []workerStats, target events.Target) string {
	reason := ""
	if workers != nil {
		reason = "no worker answers; start one with `lethe run`"
	}
	for _, w := range workers {
		for _, lane := range w.Lanes {
			switch {
			case lane.Target != target:
			case lane.Status == consumer.StatusRunning:
				return ""
			default:
				reason = fmt.Sprintf("its lane is %s: %s", lane.Status, lane.Reason)
				if lane.Fix != "" {
					reason += "; to fix it: " + lane.Fix
				}
			}
		}
	}
	return reason
}

// print prints a request as text or as JSON. missing are the streams that could not be
// read because they do not exist.
func (s *show) print(q *history.Request, lane string, missing []string) error {
	now := time.Now()
	if s.output == "json" {
		record := showRecord(q, now, lane)
		record.MissingStreams = missing
		return printJSON(s.out, record)
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) {
		_, _ = fmt.Fprintf(t, format+"\n", printableArgs(args)...) // Flush returns the error
	}
	line("REQUEST\t%s", q.ID)
	line("TARGET\t%s", string(q.Target))
	if q.Resource != nil {
		line("RESOURCE\t%s", resourceText(q.Resource))
	}
	if q.Source != "" {
		line("SOURCE\t%s", q.Source)
	}
	line("TRACE\t%s", orElse(q.TraceID(), "none"))
	line("STATE\t%s", stateOfRequest(q, now))
	line("\n%s", q.Sentence(now, lane))
	for _, stream := range missing {
		line("problem: %s", missingStream(stream))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	line("\nTIME\tAGE\tWHAT\t")
	if q.Earlier > 0 {
		line("\t\t\t%d earlier records are not shown", q.Earlier)
	}
	for _, l := range q.Lines() {
		line("%s\t%s\t%s\t%s", history.Stamp(l.Time, now), history.Age(l.Time, now), l.What, l.Text)
	}
	return t.Flush()
}

// stateOfRequest is the state of a request, in a word or two.
func stateOfRequest(q *history.Request, now time.Time) string {
	state := string(q.Stage(now))
	if q.Overdue(now) {
		state += ", overdue"
	}
	return state
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
