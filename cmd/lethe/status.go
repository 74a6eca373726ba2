package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// workersAnswerWithin is how long status waits for the workers' answers.
const workersAnswerWithin = 500 * time.Millisecond

func newStatusCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each lane: waiting, in flight, scheduled, and its state and reason",
		Long: `Status shows how many requests of each lane are waiting, in flight and scheduled
for later, and the state that each worker reports. It exits with 1 if there is a
problem: no worker, a lane that is not running, or a stream that could lose a
request.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			var s *status
			err := withClient(cmd, "status", func(ctx context.Context, c *client) (err error) {
				s, err = readStatus(ctx, c)
				return err
			})
			if err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), s)
			} else {
				err = s.print(cmd.OutOrStdout())
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

// status is what `lethe status` prints.
type status struct {
	Well    bool   `json:"well"`
	Problem string `json:"problem,omitempty"` // of the streams
	// Warnings say what a power cut could lose: how the servers sync to disk.
	Warnings []string      `json:"warnings"`
	Lanes    []laneStatus  `json:"lanes"`
	Workers  []workerStats `json:"workers"`
}

type laneStatus struct {
	Target events.Target `json:"target"`
	// Waiting requests are in the stream. InFlight requests are with a worker, or one has
	// just returned them. Later requests are scheduled.
	Waiting  uint64 `json:"waiting"`
	InFlight int    `json:"in_flight"`
	Later    uint64 `json:"later"`
}

func readStatus(ctx context.Context, c *client) (*status, error) {
	s := &status{Well: true, Warnings: []string{}, Workers: []workerStats{}}
	var problem *streams.Problem
	if err := streams.Check(ctx, c.js, c.cfg.MinResultsAge(), events.Targets()...); errors.As(err, &problem) {
		s.Well, s.Problem = false, problem.Error()
	} else if err != nil {
		return nil, err
	} else if stranded, err := streams.Stranded(ctx, c.js, events.Targets()...); err != nil {
		return nil, err
	} else if len(stranded) > 0 {
		s.Well, s.Problem = false, stranded[0].Error()
	}
	for _, target := range events.Targets() {
		lane, err := readLane(ctx, c.js, target)
		if err != nil {
			return nil, err
		}
		s.Lanes = append(s.Lanes, lane)
	}
	workers, err := askWorkers(ctx, c.Conn)
	if err != nil {
		return nil, err
	}
	s.Workers = append(s.Workers, workers...)
	warnings, _, err := durability(ctx, c.Conn, c.js, embeddedSyncing(c.cfg))
	if err != nil {
		return nil, err
	}
	s.Warnings = append(s.Warnings, warnings...)
	s.Well = s.Well && len(s.Workers) > 0
	for _, w := range s.Workers {
		for _, lane := range w.Lanes {
			s.Well = s.Well && lane.Status == consumer.StatusRunning
		}
	}
	return s, nil
}

func readLane(ctx context.Context, js jetstream.JetStream, target events.Target) (laneStatus, error) {
	lane := laneStatus{Target: target}
	for _, name := range []string{events.StreamRequests, events.StreamLater} {
		cons, err := js.Consumer(ctx, name, string(target))
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			continue // status.Problem names the stream
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			stored, err := storedMessages(ctx, js, name, waitingSubject(name, target))
			if err != nil {
				return lane, err
			}
			lane.Waiting += stored
		case err != nil:
			return lane, fmt.Errorf("consumer %s of %s: %w", target, name, err)
		default:
			info := cons.CachedInfo()
			lane.Waiting += info.NumPending
			lane.InFlight += info.NumAckPending
		}
		if name == events.StreamLater {
			if lane.Later, err = scheduled(ctx, js, target); err != nil {
				return lane, err
			}
		}
	}
	return lane, nil
}

// waitingSubject is the subject of a lane's waiting messages in a stream.
func waitingSubject(stream string, target events.Target) string {
	if stream == events.StreamLater {
		return events.DueSubject(target)
	}
	return events.RequestSubject(target)
}

// storedMessages counts the messages on one subject of a stream. It is used if the
// consumer, which would know the number, is missing.
func storedMessages(ctx context.Context, js jetstream.JetStream, name, subject string) (uint64, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", name, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", name, err)
	}
	return info.State.Subjects[subject], nil
}

// errCodeNotUnique is the server's "filtered consumer not unique on workqueue
// stream" (errors.json of nats-server).
const errCodeNotUnique jetstream.ErrorCode = 10100

// scheduled counts the schedules of one target. Each has its own subject, and millions
// of subjects are too many to list. A temporary consumer knows how many messages it
// would deliver.
func scheduled(ctx context.Context, js jetstream.JetStream, target events.Target) (uint64, error) {
	var counter jetstream.Consumer
	count := func() (err error) {
		counter, err = js.CreateConsumer(ctx, events.StreamLater, jetstream.ConsumerConfig{
			FilterSubject: events.LaterSubject(target, "*"), AckPolicy: jetstream.AckExplicitPolicy, InactiveThreshold: 5 * time.Second,
		})
		var api *jetstream.APIError
		if errors.As(err, &api) && api.ErrorCode == errCodeNotUnique {
			return err // another command counts now; a work queue allows one consumer per message
		}
		return backoff.Permanent(err)
	}
	pause := backoff.WithMaxElapsedTime(workersAnswerWithin * 10)
	if err := backoff.Retry(count, backoff.WithContext(backoff.NewExponentialBackOff(pause, backoff.WithInitialInterval(50*time.Millisecond)), ctx)); err != nil {
		return 0, fmt.Errorf("count the schedules of %s: %w", target, err)
	}
	info := counter.CachedInfo()
	if err := js.DeleteConsumer(ctx, events.StreamLater, info.Name); err != nil {
		return 0, fmt.Errorf("count the schedules of %s: %w", target, err)
	}
	return info.NumPending, nil
}

// askWorkers asks every worker for its statistics (NATS ADR-32) and returns the
// answers that arrive in time.
func askWorkers(ctx context.Context, nc *nats.Conn) ([]workerStats, error) {
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask the workers: %w", err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	if err := nc.PublishRequest("$SRV.STATS."+serviceName, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask the workers: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, workersAnswerWithin)
	defer cancel()
	var workers []workerStats
	for {
		msg, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return workers, nil // no more answers
		}
		var stats micro.Stats
		if json.Unmarshal(msg.Data, &stats) != nil {
			continue
		}
		for _, endpoint := range stats.Endpoints {
			var w workerStats
			if json.Unmarshal(endpoint.Data, &w) == nil && w.Instance != "" {
				workers = append(workers, w)
			}
		}
	}
}

func (s *status) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) {
		_, _ = fmt.Fprintf(t, format+"\n", printableArgs(args)...) // Flush returns the error
	}
	line("LANE\tWAITING\tIN FLIGHT\tLATER")
	for _, l := range s.Lanes {
		line("%s\t%d\t%d\t%d", l.Target, l.Waiting, l.InFlight, l.Later)
	}
	line("")
	if len(s.Workers) == 0 {
		line("no worker answered")
	} else {
		line("WORKER\tLANE\tSTATUS\tIN FLIGHT\tMAX CALLS\tCALLS/S\tREASON")
	}
	for _, worker := range s.Workers {
		for _, l := range worker.Lanes {
			reason := l.Reason
			if !l.NextCall.IsZero() {
				reason += fmt.Sprintf(" (next call at %s)", l.NextCall.Local().Format(time.TimeOnly))
			}
			perSecond := "no limit"
			if l.CallsPerSecond > 0 {
				perSecond = fmt.Sprintf("%.1f", l.CallsPerSecond)
			}
			line("%s\t%s\t%s\t%d\t%d\t%s\t%s", worker.Instance, l.Target, l.Status, l.Requests, l.MaxCalls, perSecond, reason)
		}
	}
	for _, warning := range s.Warnings {
		line("\nwarning: %s", warning)
	}
	if s.Problem != "" {
		line("\nproblem: %s", s.Problem)
	}
	return t.Flush()
}
