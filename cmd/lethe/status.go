package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/config"
)

func newStatusCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each lane, worker and stream, and every problem with its fix",
		Long: `Status shows the state of each lane, with its reason, and how many requests are
waiting, in flight and scheduled; what each worker serves; how full the streams
are; and every problem, since when there has been one, and how to fix it. If a
part cannot be read, status names it and shows the others.

The states are running, throttled (more requests come than the rate of calls
allows), failing (the API fails), suspended (the API refuses the credential),
blocked (NATS), paused (by a person) and off.

IN FLIGHT counts the requests that a worker has, and those that a worker
returned and that the server has not delivered again yet, for example while the
lane is paused. OLDEST is the age of the oldest request that is waiting, in
flight or due. FAILED counts the failed results that are kept, as the metric
lethe.failed does; a replay that fails again adds one.

It exits with 1 if there is a problem.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			s, err := askStatus(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), s)
			} else {
				err = s.print(cmd.OutOrStdout(), time.Now())
			}
			if err == nil && !s.Well {
				return silentError{}
			}
			return err
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}

// askStatus connects and reads the status. It fails only if no server can be reached.
func askStatus(ctx context.Context) (*status, error) {
	cfg, err := config.Load()
	if err != nil {
		return nil, usageError("%w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reading := newStatusReading(cfg)
	server := connection(cfg, "status")
	server.Log, server.OnFatal = slog.New(slog.DiscardHandler), cancel
	server.OptionalSubjects, server.OnDenied = []string{""}, reading.denied // each part can be done without
	nc, err := dial(ctx, cfg, server)
	if err != nil {
		return nil, err
	}
	defer func() {
		cancel(nil)
		nc.Close()
	}()
	s, err := reading.read(ctx, nc)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, nats.ErrPermissionViolation) {
		return nil, cause
	}
	return s, err
}

// status is what `lethe status` prints. A nil number could not be read;
// Problems contains the reason.
type status struct {
	Well     bool            `json:"well"`
	Lanes    []laneStatus    `json:"lanes"`
	Workers  []workerStats   `json:"workers"`
	Streams  []streamStatus  `json:"streams"`
	Problems []statusProblem `json:"problems"`
	// Notes are remarks that are not problems.
	Notes []string `json:"notes"`
	// Warnings describe what a power cut could lose.
	Warnings []string `json:"warnings"`
}

type laneStatus struct {
	Target events.Target `json:"target"`
	// State is the state of all workers that serve the lane, or the number of workers in
	// each state.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Waiting requests are in the stream. InFlight requests are with a worker, or were
	// returned by one and not delivered again yet. Scheduled requests wait for their next attempt.
	Waiting   *uint64 `json:"waiting"`
	InFlight  *uint64 `json:"in_flight"`
	Scheduled *uint64 `json:"scheduled"`
	// Oldest is when the oldest message was stored that is waiting, in flight or due.
	Oldest *time.Time `json:"oldest,omitempty"`
	// Failed is how many failed results are kept.
	Failed *uint64 `json:"failed"`
}

type streamStatus struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes,omitempty"` // 0: no limit
}

// statusProblem is something for an operator to fix.
type statusProblem struct {
	About   string          `json:"about"` // a lane, a stream, the workers, NATS
	State   consumer.Status `json:"state,omitempty"`
	Reason  string          `json:"reason"`
	Since   time.Time       `json:"since,omitzero"`
	Fix     string          `json:"fix"`
	Workers []string        `json:"workers,omitempty"` // that report it
	// ReasonsDiffer is true if other workers report other numbers. Reason is that of the
	// first worker.
	ReasonsDiffer bool `json:"reasons_differ,omitempty"`
}

// print prints the status at a time.
func (s *status) print(w io.Writer, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) {
		_, _ = fmt.Fprintf(t, format+"\n", printableArgs(args)...) // Flush returns the error
	}
	line("LANE\tSTATE\tWAITING\tIN FLIGHT\tSCHEDULED\tOLDEST\tFAILED")
	for _, l := range s.Lanes { // the reasons are those of the problems
		line("%s\t%s\t%s\t%s\t%s\t%s\t%s", l.Target, l.State, number(l.Waiting), number(l.InFlight), number(l.Scheduled), age(l.Oldest, now), number(l.Failed))
	}
	if len(s.Workers) > 0 {
		line("\nWORKER\tSTATE HERE\tREQUESTS HERE\tMAX CALLS\tMAX CALLS/S\tNEXT CALL")
	}
	for _, worker := range s.Workers {
		line("%s\t\t\t\t\t", worker.Instance) // empty cells keep the columns together
		for _, l := range worker.Lanes {
			perSecond, next := "no limit", "-"
			if l.CallsPerSecond > 0 {
				perSecond = fmt.Sprintf("%.1f", l.CallsPerSecond)
			}
			if !l.NextCall.IsZero() {
				next = l.NextCall.Local().Format(time.TimeOnly)
			}
			line("  %s\t%s\t%d\t%d\t%s\t%s", l.Target, l.Status, l.Requests, l.MaxCalls, perSecond, next)
		}
	}
	if len(s.Streams) > 0 {
		line("\nSTREAM\tMESSAGES\tBYTES\tMAX BYTES\tFULL")
	}
	for _, st := range s.Streams {
		limit, full := "no limit", "-"
		if st.MaxBytes > 0 {
			limit, full = strconv.FormatInt(st.MaxBytes, 10), fmt.Sprintf("%d %%", st.percent())
		}
		line("%s\t%d\t%d\t%s\t%s", st.Name, st.Messages, st.Bytes, limit, full)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range s.Problems {
		line("\nproblem: %s", p.text(now))
		line("    fix: %s", p.Fix)
	}
	for _, note := range s.Notes {
		line("\nnote: %s", note)
	}
	for _, warning := range s.Warnings {
		line("\nwarning: %s", warning)
	}
	return t.Flush()
}

// text is the problem in one line, without its fix.
func (p statusProblem) text(now time.Time) string {
	text := p.About
	if p.State != "" && p.State != consumer.StatusRunning {
		text += " is " + string(p.State)
	}
	if !p.Since.IsZero() {
		text += fmt.Sprintf(" since %s (%s)", p.Since.Local().Format("2006-01-02 15:04:05"), age(&p.Since, now))
	}
	text += ": " + p.Reason
	switch len(p.Workers) {
	case 0:
	case 1:
		text += " (worker " + p.Workers[0] + ")"
	default:
		text += fmt.Sprintf(" (%d workers", len(p.Workers))
		if p.ReasonsDiffer {
			text += "; this is what " + p.Workers[0] + " reports"
		}
		text += ")"
	}
	return text
}

func (s streamStatus) percent() uint64 {
	if s.MaxBytes <= 0 {
		return 0
	}
	return s.Bytes * 100 / uint64(s.MaxBytes)
}

func number(n *uint64) string {
	if n == nil {
		return "?"
	}
	return strconv.FormatUint(*n, 10)
}

// age is how long ago something was, to the second.
func age(at *time.Time, now time.Time) string {
	if at == nil || at.IsZero() {
		return "-"
	}
	return max(now.Sub(*at), 0).Round(time.Second).String()
}
