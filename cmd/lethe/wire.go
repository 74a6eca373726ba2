package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/streams"
)

// laneConfig configures one lane.
type laneConfig struct {
	consumer.Config
	credential *deleter.Credential // nil: the lane is off
	listed     bool                // in LETHE_TARGETS
}

type laneConfigs []laneConfig

// newLaneConfigs configures one lane for each line of the table of APIs.
func newLaneConfigs(cfg *config.Config, instance string, log *slog.Logger) (laneConfigs, error) {
	table := apis(cfg)
	common := consumer.Config{
		Rules: rules(cfg), ResultsMinAge: cfg.MinResultsAge(), Instance: instance, Version: buildVersion(), Grace: (&grace{total: cfg.ShutdownGrace}).lanes(),
		ManageStreams: cfg.ManageStreams, LogLimits: consumer.NewLogLimits(), MaxBytesInFlight: maxBytesInFlight() / int64(len(table)), Log: log,
	}
	if cfg.NATSURL.Reveal() != "" { // the embedded server has no leaf nodes
		common.CheckDomains = joinedDomain
	}
	configs := make(laneConfigs, 0, len(table))
	for _, a := range table {
		lane, err := a.lane(cfg, common)
		if err != nil {
			return nil, err
		}
		configs = append(configs, lane)
	}
	return configs, nil
}

// Limits of the requests in memory, in bytes of messages. Between two garbage
// collections they take several times as much memory.
const (
	defaultMaxBytes = 64 << 20 // if GOMEMLIMIT is not set
	shareOfLimit    = 8        // else 1/8 of GOMEMLIMIT
)

// maxBytesInFlight is how many bytes of requests a worker may have in flight.
func maxBytesInFlight() int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return max(limit/shareOfLimit, 1)
	}
	return defaultMaxBytes
}

func rules(cfg *config.Config) consumer.Rules {
	return consumer.Rules{
		ConfirmAfter: cfg.ConfirmAfter,
		Retry: consumer.Policy{
			InitialInterval: cfg.Retry.InitialInterval,
			Multiplier:      cfg.Retry.Multiplier,
			Randomization:   cfg.Retry.Randomization,
			MaxInterval:     cfg.Retry.MaxInterval,
			MaxElapsed:      cfg.Retry.MaxElapsed,
		},
	}
}

// lanes are the lanes of one worker.
type lanes struct {
	configs laneConfigs
	lanes   []*consumer.Lane
}

// lanes creates the lanes. They take no requests before run.
func (c laneConfigs) lanes(js jetstream.JetStream) *lanes {
	l := &lanes{configs: c}
	for _, config := range c {
		lane := consumer.New(js, config.Config)
		switch {
		case !config.listed:
			lane.Off(consumer.CodeNotListed, fmt.Sprintf("%s is not in LETHE_TARGETS", config.Target),
				fmt.Sprintf("to serve it here, add %s to LETHE_TARGETS and restart the worker", config.Target))
		case config.credential == nil:
			lane.Off(consumer.CodeNoCredential, config.Variables.Credential+" is not set, so the lane has no credential",
				"set "+config.Variables.Credential+" and restart the worker")
		}
		l.lanes = append(l.lanes, lane)
	}
	return l
}

// run runs every lane that is not off, and returns when ctx has ended and they have.
// If all are off, it only waits for ctx.
func (l *lanes) run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	for i, lane := range l.lanes {
		config := l.configs[i]
		if config.credential == nil {
			continue
		}
		work.Go(func() error { return lane.Run(ctx) })
		work.Go(func() error { retryWhenChanged(ctx, config.credential, lane); return nil })
	}
	work.Go(func() error { <-ctx.Done(); return nil })
	return work.Wait()
}

// served are the targets of the lanes that are not off.
func (l *lanes) served() (targets []events.Target) {
	for _, config := range l.configs {
		if config.credential != nil {
			targets = append(targets, config.Target)
		}
	}
	return targets
}

func (l *lanes) states() []consumer.State {
	states := make([]consumer.State, 0, len(l.lanes))
	for _, lane := range l.lanes {
		states = append(states, lane.State())
	}
	return states
}

// credentialEvery is how often a credential's file is checked for a change.
const credentialEvery = time.Second

// retryWhenChanged lets a suspended lane try at once when its credential's file has
// changed, rather than at its next probe.
func retryWhenChanged(ctx context.Context, c *deleter.Credential, lane *consumer.Lane) {
	tick := time.NewTicker(credentialEvery)
	defer tick.Stop()
	for before := c.Version(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := c.Version(); now != before {
			before = now
			lane.Retry()
		}
	}
}

func streamSettings(cfg *config.Config) streams.Settings {
	return streams.Settings{
		Replicas: cfg.Stream.Replicas, ResultsMaxAge: cfg.ResultsMaxAge, ResultsMinAge: cfg.MinResultsAge(),
		RequestsMaxBytes: int64(cfg.RequestsMaxBytes), ResultsMaxBytes: int64(cfg.ResultsMaxBytes), LaterMaxBytes: int64(cfg.LaterMaxBytes),
	}
}

func embedConfig(cfg *config.Config, log *slog.Logger) natsconn.EmbedConfig {
	return natsconn.EmbedConfig{Dir: cfg.Embedded.Dir, Addr: cfg.Embedded.Addr, Sync: time.Duration(cfg.Embedded.Sync), Log: log}
}

// accountTries is the number of refusals in a row after which an account counts as one
// without JetStream. A server that is still starting may refuse once.
const accountTries = 2

// errCodeNoCluster is the server's "replicas > 1 not supported in non-clustered mode"
// (errors.json of nats-server), although its status is 500.
const errCodeNoCluster jetstream.ErrorCode = 10074

// untilReady repeats check while the server is up but not ready, for example while a
// cluster elects its leader. A refused setting is an error immediately.
func untilReady(ctx context.Context, log *slog.Logger, cfg *config.Config, check func(context.Context) error) error {
	disabled, logged := 0, ""
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := noJetStream(check(try), cfg)
		cancel()
		var problem *streams.Problem
		var refused *jetstream.APIError
		switch {
		case err == nil, ctx.Err() != nil:
			return err
		case errors.As(err, &problem), errors.Is(err, natsconn.ErrTwoDomains), errors.Is(err, natsconn.ErrServerTooOld):
			return err
		case errors.As(err, &refused) && refused.ErrorCode == errCodeNoCluster:
			return usageError("LETHE_STREAM_REPLICAS: %d replicas need a cluster: %w", cfg.Stream.Replicas, err)
		case errors.As(err, &refused) && refused.Code < 500:
			return err
		case errors.Is(err, natsconn.ErrNoJetStream):
			if disabled++; disabled >= accountTries {
				return err
			}
		default:
			disabled = 0
		}
		if reason := err.Error(); reason != logged {
			log.Warn("waiting for JetStream", "reason", reason)
			logged = reason
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for JetStream: %w", err)
		case <-time.After(time.Second):
		}
	}
}
