package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/backlog"
	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/streams"
	"github.com/lethe-dev/lethe/internal/telemetry"
)

func newRunCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the worker: read requests, delete, publish results",
		Long: `Run reads deletion requests from JetStream, calls the APIs and publishes the
outcome of each request. On SIGTERM or SIGINT it stops taking requests, finishes
the calls in flight, returns the other requests to the stream and exits with 0.
A second signal kills it.

Requests in memory take at most 64 MiB, or one eighth of GOMEMLIMIT if that is
set. All others wait in the stream.

It waits for a NATS server that is not up yet, and logs that it waits. If a
setting is wrong, it prints one line that names the variable and exits with 2.

All settings are environment variables. One that is set but empty counts as not
set.
` + config.Usage(commonAPIs()...),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), cmd.ErrOrStderr()) },
	}
}

// gcPercent is the worker's GOGC if the environment sets none. Its heap is a few
// megabytes. With Go's default of 100, garbage collection takes a quarter of the
// CPU time under load.
const gcPercent = 300

// run runs the worker until ctx ends.
func run(ctx context.Context, stderr io.Writer) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	// Go kills a process that writes to a closed standard error. Deletions must not
	// depend on a reader of the log.
	signal.Ignore(syscall.SIGPIPE)
	cfg, err := config.Load()
	if err != nil {
		return usageError("%w", err)
	}
	instance := uuid.Must(uuid.NewV7()).String()
	tel, err := telemetry.Setup(ctx, telemetry.Config{
		ServiceVersion: buildVersion(), Instance: instance, LogLevel: cfg.LogLevel, LogFormat: cfg.LogFormat, Stderr: stderr,
	})
	if err != nil {
		return usageError("%w", err)
	}
	log := tel.Logger
	period := &grace{total: cfg.ShutdownGrace}
	defer func() { flushWithin(ctx, tel, period.left(flushTimeout)) }()
	if unknown := config.Unknown(commonAPIs()...); len(unknown) > 0 {
		log.Warn("unknown variables are set; check their spelling", "variables", strings.Join(unknown, ", "))
	}

	// The context of the work ends with a signal or a fatal error.
	ctx, fatal := context.WithCancelCause(ctx)
	defer fatal(nil)
	defer period.watch(ctx, log)()

	configs, err := newLaneConfigs(cfg, instance, log)
	if err != nil {
		return err
	}
	defer redirectLibraryLog(log, configs)()
	admin := newAdmin(instance, tel.MetricsHandler(), ctx.Done())
	if err := observe(admin); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	stopAdmin, err := admin.serve(ctx, cfg.AdminAddr, cfg.AdminPage, log)
	if err != nil {
		return usageError("LETHE_ADMIN_ADDR: %w", err)
	}
	defer stopAdmin()

	nc, closeNATS, err := openNATS(ctx, cfg, log, period, fatal)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer closeNATS()
	js, err := openStreams(ctx, nc, cfg, log)
	if err != nil {
		return interrupted(ctx, err)
	}

	warnings, known, err := durability(ctx, nc, js, embeddedSyncing(cfg))
	if err != nil {
		return interrupted(ctx, err)
	}
	for _, warning := range warnings {
		if known {
			log.Warn(warning)
		}
	}

	lanes := configs.lanes(js)
	waiting := backlog.NewPoller(js, backlog.Every, events.Targets()...)
	admin.watch(nc, js, lanes, waiting)
	defer untilStopped(ctx, waiting.Run)()
	defer untilStopped(ctx, fitProcessors)()
	stopService, err := announce(nc, instance, embeddedSync(cfg), lanes)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer stopService()
	log.Info("worker started", "version", buildVersion(), "instance", instance, "nats", natsconn.ConnectedURL(nc), "admin", admin.url)

	defer context.AfterFunc(ctx, func() {
		log.Info("worker stopping: no new requests are taken, calls in flight may finish", "grace", cfg.ShutdownGrace.String())
	})()
	if err := lanes.run(ctx); err != nil {
		return interrupted(ctx, err)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	log.Info("worker stopped")
	return nil
}

// untilStopped runs a function that ends with its context, until ctx ends or stop is
// called.
func untilStopped(ctx context.Context, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	return func() { cancel(); <-done }
}

// interrupted returns err, or the cause if ctx ended first. A requested shutdown is
// not an error.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// openNATS connects to the configured server and waits until it is up, or starts the
// embedded server.
func openNATS(ctx context.Context, cfg *config.Config, log *slog.Logger, period *grace, fatal func(error)) (*nats.Conn, func(), error) {
	stopServer := func() {}
	server := connection(cfg, "run")
	server.Wait, server.Log, server.OnFatal, server.OptionalSubjects = true, log, fatal, append(countingSubjects(cfg), jszSubject)
	if cfg.NATSURL.Reveal() == "" {
		embedded, err := natsconn.Embed(embedConfig(cfg, log))
		if err != nil {
			return nil, nil, err
		}
		stopServer = embedded.Close
		server.URL = embedded.URL()
		log.Info("started the embedded NATS server", "url", server.URL, "dir", cfg.Embedded.Dir, "sync", cfg.Embedded.Sync.String())
	}
	nc, err := natsconn.Connect(ctx, server)
	if err != nil {
		stopServer()
		return nil, nil, err
	}
	return nc, func() {
		_ = nc.FlushTimeout(period.left(2 * time.Second)) // the last acknowledgements; if they are lost, messages are redelivered
		nc.Close()
		stopServer()
	}, nil
}

// countingSubjects are the subjects that only metrics use. A worker with older permissions
// works without those metrics.
func countingSubjects(cfg *config.Config) (all []string) {
	for _, call := range []string{"STREAM.MSG.GET." + events.StreamRequests, "CONSUMER.INFO." + events.StreamResults} {
		all = append(all, natsconn.InDomain("$JS.API."+call, cfg.JetstreamDomain))
	}
	return all
}

// openStreams checks the server's features and the streams' settings, and creates the
// streams if the configuration allows it.
func openStreams(ctx context.Context, nc *nats.Conn, cfg *config.Config, log *slog.Logger) (jetstream.JetStream, error) {
	js, err := natsconn.JetStream(nc, cfg.JetstreamDomain)
	if err != nil {
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	check := func(ctx context.Context) error {
		return streams.Check(ctx, js, cfg.MinResultsAge(), events.Targets()...)
	}
	if cfg.ManageStreams {
		settings := streamSettings(cfg)
		settings.Created = func(c streams.Created) {
			if c.Consumer != "" {
				log.Warn("created a missing consumer; its messages waited in the stream", "stream", c.Stream, "consumer", c.Consumer)
			} else {
				log.Info("created a stream", "stream", c.Stream)
			}
		}
		check = func(ctx context.Context) error { return streams.Start(ctx, js, settings) }
	}
	err = untilReady(ctx, log, cfg, func(ctx context.Context) error {
		if err := natsconn.CheckServer(ctx, nc, cfg.JetstreamDomain); err != nil {
			return fmt.Errorf("%s: %w", connection(cfg, "run").Credential(), err)
		}
		if cfg.NATSURL.Reveal() != "" { // the embedded server has no leaf nodes
			if err := natsconn.CheckDomains(ctx, js, writtenSubjects()); err != nil {
				return err
			}
		}
		return check(ctx)
	})
	var problem *streams.Problem
	if errors.As(err, &problem) && problem.MissingBeside {
		return js, nil // each lane is blocked with this reason until `lethe setup` creates the stream
	}
	return js, err
}

// joinedDomain returns the problem that the streams of another JetStream domain are, nil
// if there are none.
func joinedDomain(ctx context.Context, js jetstream.JetStream) (*consumer.Problem, error) {
	err := natsconn.CheckDomains(ctx, js, writtenSubjects())
	if !errors.Is(err, natsconn.ErrTwoDomains) {
		return nil, err
	}
	reason, fix, _ := strings.Cut(strings.TrimPrefix(err.Error(), "LETHE_JETSTREAM_DOMAIN: "), "; ")
	return &consumer.Problem{Code: consumer.CodeTwoDomains, Status: consumer.StatusBlocked, Reason: reason, Fix: fix}, nil
}

// writtenSubjects maps subjects that a worker publishes on to the streams that store
// them.
func writtenSubjects() map[string]string {
	target, id := events.KVUserContext, uuid.Must(uuid.NewV7()).String()
	return map[string]string{
		events.ResultSubject(target, id, events.Deleted): events.StreamResults,
		events.AttemptSubject(target, id, 1):             events.StreamResults,
		events.LaterSubject(target, id):                  events.StreamLater,
		streams.WorkerKey(id, string(target)):            streams.Control,
	}
}
