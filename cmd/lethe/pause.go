package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/control"
	"github.com/lethe-dev/lethe/internal/text"
)

const (
	// maxReason is the longest reason of a pause, in bytes: it is shown in one line.
	maxReason = 256
	// minPause is the shortest pause with an end. The command itself waits 15 s.
	minPause = 30 * time.Second
	// askEvery is how often pause checks whether calls are in flight.
	askEvery = time.Second
	// retryPauseFor is how long a request is repeated if the server does not answer.
	retryPauseFor = 20 * time.Second
)

// pauseFlags are the flags of pause and resume.
type pauseFlags struct {
	reason, until, by, output string
	timeout                   time.Duration
	all                       bool
}

func newPauseCommand() *cobra.Command {
	var f pauseFlags
	cmd := &cobra.Command{
		Use:   "pause (TARGET... | --all) --reason TEXT",
		Short: "Stop the calls of a lane; requests wait",
		Long: `Pause stops the calls to an API. When it has returned, no worker begins a call
for the lane until it is resumed, including workers that are cut off from NATS,
killed or restarted. Requests wait in the stream, and that time does not count.

Each worker renews its right to call every few seconds, and a pause ends that.
So pause always waits 15 s after it has stored the pause. Then it waits for the
calls in flight. If they take longer than --timeout, it lists them and exits
with 1; the lane is paused nevertheless. A worker that does not answer counts as
calling until its calls must have timed out.

Pausing a paused lane gives it the new reason and the new end. lethe status,
lethe show and the operator's page show who paused the lane, when and why.

A power cut of the NATS server can lose a stored pause, unless the server syncs
always or the streams have three replicas. Check lethe status after a power cut.`,
		Example: `  lethe pause sensay-knowledge-base --reason "vendor maintenance" --until 22:00
  lethe pause --all --reason "wrong requests from the CRM"`,
		ValidArgs: targetNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, targets, err := f.read(cmd, args, time.Now())
			if err != nil {
				return err
			}
			return withClient(cmd, "pause", func(ctx context.Context, c *client) error { return p.pause(ctx, c, targets) })
		},
	}
	f.add(cmd, "pause")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why the lane is paused; status, show and the operator's page show it (required)")
	cmd.Flags().StringVar(&f.until, "until", "", "when the pause ends by itself: 15:04 (today or tomorrow), 2006-01-02 15:04, RFC 3339, or a duration such as 2h")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 2*time.Minute, "how long to wait for calls in flight")
	return cmd
}

func newResumeCommand() *cobra.Command {
	var f pauseFlags
	cmd := &cobra.Command{
		Use:   "resume (TARGET... | --all)",
		Short: "Let a paused lane call again",
		Long: `Resume ends a pause. Workers begin to call within a few seconds. It prints what
was paused, why and by whom. A running lane is not changed.`,
		Example:   `  lethe resume sensay-knowledge-base`,
		ValidArgs: targetNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.reason = "-" // resuming needs none
			p, targets, err := f.read(cmd, args, time.Now())
			if err != nil {
				return err
			}
			return withClient(cmd, "resume", func(ctx context.Context, c *client) error { return p.resume(ctx, c, targets) })
		},
	}
	f.add(cmd, "resume")
	return cmd
}

func (f *pauseFlags) add(cmd *cobra.Command, verb string) {
	cmd.Flags().BoolVar(&f.all, "all", false, verb+" every lane")
	cmd.Flags().StringVar(&f.by, "by", "", "your name, shown to other operators (default: user@host)")
	addOutputFlag(cmd, &f.output)
}

// read checks the flags and arguments.
func (f *pauseFlags) read(cmd *cobra.Command, args []string, now time.Time) (p *pauser, targets []events.Target, err error) {
	p = &pauser{out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr(), output: f.output, timeout: f.timeout, by: f.by}
	if err := oneOf(cmd, "TARGET", len(args) > 0, "--all", f.all); err != nil {
		return nil, nil, err
	}
	switch {
	case strings.TrimSpace(f.reason) == "":
		return nil, nil, usageError("--reason is missing; lethe status, lethe show and the operator's page show it (see %s --help)", cmd.CommandPath())
	case f.timeout < 0:
		return nil, nil, usageError("--timeout: must not be negative")
	}
	p.reason = text.Line(f.reason, maxReason)
	if p.by = text.Line(p.by, maxReason); p.by == "" {
		p.by = person()
	}
	for _, arg := range args {
		target, err := checkTarget("TARGET", arg)
		if err != nil {
			return nil, nil, err
		}
		if arg != "" && !slices.Contains(targets, target) {
			targets = append(targets, target)
		}
	}
	if f.all {
		targets = events.Targets()
	}
	if f.until != "" {
		if p.until, err = parseUntil(f.until, now); err != nil {
			return nil, nil, err
		}
	}
	return p, targets, checkOutput(f.output)
}

// parseUntil reads the end of a pause.
func parseUntil(s string, now time.Time) (time.Time, error) {
	until, err := time.Parse(time.RFC3339, s)
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04"} {
		if err != nil {
			until, err = time.ParseInLocation(layout, s, now.Location())
		}
	}
	if err != nil {
		if clock, wrong := time.Parse("15:04", s); wrong == nil {
			until, err = time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location()), nil
			if !until.After(now) {
				until = until.AddDate(0, 0, 1)
			}
		}
	}
	if err != nil {
		if d, wrong := time.ParseDuration(s); wrong == nil {
			until, err = now.Add(d).Round(0), nil
		}
	}
	switch {
	case err != nil:
		return until, usageError("--until: must be a time such as 22:00, 2006-01-02 22:00 or 2006-01-02T22:00:00Z, or a duration such as 2h, not %s", shown(s))
	case until.Before(now.Add(minPause)):
		return until, usageError("--until: %s is less than %s from now", until.Local().Format(time.DateTime), minPause)
	}
	return until, nil
}

// person returns user@host of the user who runs the command.
func person() string {
	name := "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return name
	}
	return name + "@" + host
}

// pauser pauses and resumes lanes.
type pauser struct {
	out, progress io.Writer
	output        string
	reason, by    string
	until         time.Time
	timeout       time.Duration
}

// pauseRecord is what pause and resume print of a lane with --output json.
type pauseRecord struct {
	control.Lane
	Previous *control.Lane    `json:"previous,omitempty"` // the key before
	InFlight []control.Worker `json:"in_flight,omitempty"`
}

func (p *pauser) report(format string, args ...any) {
	_, _ = fmt.Fprintf(p.progress, format+"\n", printableArgs(args)...) // progress only
}

func (p *pauser) pause(ctx context.Context, c *client, targets []events.Target) error {
	var records []pauseRecord
	for _, target := range targets {
		var before, after control.Lane
		err := retryPause(ctx, func() (err error) {
			before, after, err = control.Pause(ctx, c.js, target, p.reason, p.by, p.until)
			return err
		})
		if ctx.Err() != nil && err != nil {
			err = fmt.Errorf("%w; %s may be paused: `lethe status` shows it", errInterrupted, target)
		}
		if err != nil {
			return stillPaused(records, err)
		}
		if before.State != control.Running {
			p.report("%s: was %s", target, before.Text())
		}
		records = append(records, pauseRecord{Lane: after, Previous: &before})
		p.report("%s: the pause is stored; calls may begin for %s more", target, control.Wait)
	}
	stored := time.Now()
	if err := p.wait(ctx, control.Wait); err != nil {
		return stillPaused(records, err)
	}
	if err := p.drain(ctx, c, records, stored); err != nil {
		return err
	}
	return p.finish(ctx, c, records)
}

// retryPause repeats a request for a while if the server does not answer: it may be
// restarting, and a pause is urgent. A refusal is final.
func retryPause(ctx context.Context, do func() error) error {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(time.Second),
		backoff.WithMaxElapsedTime(retryPauseFor))
	return backoff.Retry(func() error {
		err := do()
		var refused *jetstream.APIError
		if errors.Is(err, control.ErrChanged) || errors.Is(err, control.ErrNoBucket) || errors.As(err, &refused) && refused.Code < 500 {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(policy, ctx))
}

// stillPaused adds to an error the lanes that are paused nevertheless.
func stillPaused(records []pauseRecord, err error) error {
	if len(records) == 0 {
		return err
	}
	var names []string
	for _, r := range records {
		names = append(names, string(r.Target))
	}
	return fmt.Errorf("%w; the pause of %s is stored and remains in effect; calls may begin until %s after it was stored", err, strings.Join(names, ", "), control.Wait)
}

func (p *pauser) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return errInterrupted
	case <-timer.C:
		return nil
	}
}

// drain waits until no call is in flight. After the timeout, it adds the calls that still
// are to the records.
func (p *pauser) drain(ctx context.Context, c *client, records []pauseRecord, stored time.Time) error {
	reported := ""
	for {
		var calls []string
		for i := range records {
			err := retryPause(ctx, func() (err error) {
				records[i].InFlight, err = control.InFlight(ctx, c.js, records[i].Lane)
				return err
			})
			if err != nil {
				return stillPaused(records, err)
			}
			for _, w := range records[i].InFlight {
				calls = append(calls, callsText(w))
			}
		}
		if len(calls) == 0 || time.Since(stored) >= p.timeout+control.Wait {
			return nil
		}
		if text := strings.Join(calls, "; "); text != reported {
			p.report("waiting for calls in flight: %s", text)
			reported = text
		}
		if err := p.wait(ctx, askEvery); err != nil {
			return stillPaused(records, err)
		}
	}
}

// callsText describes the calls of a worker that may be in flight.
func callsText(w control.Worker) string {
	if !w.Alive {
		return fmt.Sprintf("%s: the last heartbeat of worker %s was at %s, its calls may be in flight until they time out",
			w.Target, w.Instance, w.Seen.Local().Format(time.TimeOnly))
	}
	return fmt.Sprintf("%s: worker %s, calls in flight: %d", w.Target, w.Instance, w.Calls)
}

// finish prints the paused lanes, unless they were changed in the meantime.
func (p *pauser) finish(ctx context.Context, c *client, records []pauseRecord) error {
	var problems []string
	for _, r := range records {
		var now control.Lane
		err := retryPause(ctx, func() (err error) {
			now, err = control.ReadLane(ctx, c.js, r.Target)
			return err
		})
		if err != nil {
			return fmt.Errorf("lane %s: %w", r.Target, err)
		}
		if now.Sequence != r.Sequence {
			problems = append(problems, fmt.Sprintf("lane %s was changed by %s, it is %s now", r.Target, now.By, now.State))
			continue
		}
		if p.output == "json" {
			err = printJSON(p.out, r)
		} else {
			_, err = fmt.Fprintln(p.out, printable(string(r.Target)+" is "+r.Text()+"; `"+r.Fix()+"` ends it"))
		}
		if err != nil {
			return err
		}
		for _, w := range r.InFlight {
			problems = append(problems, callsText(w))
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

func (p *pauser) resume(ctx context.Context, c *client, targets []events.Target) error {
	var failed []error
	for _, target := range targets {
		before, after, err := control.Resume(ctx, c.js, target, p.by)
		if errors.Is(err, control.ErrChanged) {
			err = fmt.Errorf("%w: it is %s now; run the command again to end that", err, after.Text())
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if p.output == "json" {
			err = printJSON(p.out, pauseRecord{Lane: after, Previous: &before})
		} else {
			_, err = fmt.Fprintln(p.out, printable(resumeLine(before, after)))
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

func resumeLine(before, after control.Lane) string {
	switch {
	case before.State == control.Running:
		return fmt.Sprintf("%s is running; there is nothing to resume", before.Target)
	case before.Sequence == after.Sequence:
		return fmt.Sprintf("%s is running: its pause ended at %s", before.Target, before.Until.Local().Format(time.DateTime))
	}
	return fmt.Sprintf("%s is resumed; it was %s", before.Target, before.Text())
}
