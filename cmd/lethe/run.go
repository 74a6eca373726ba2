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

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/streams"
	"github.com/lethe-dev/lethe/internal/telemetry"
)

func newRunCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the worker: read requests, delete, publish results",
		Long: `Run reads deletion requests from JetStream, calls the APIs and publishes what
became of each request, until it gets SIGTERM or SIGINT: then it takes nothing
new, finishes the calls that are out, hands the rest back and exits with 0. A
second signal ends it at once.

Requests in hand take at most 64 MiB, or an eighth of GOMEMLIMIT where that is
set; all others wait in the stream.

It waits for a NATS server that is not up yet, and says so. A wrong setting ends
it with one line that names the variable, and exit status 2.

All settings are environment variables:

` + config.Usage(commonAPIs()...),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), cmd.ErrOrStderr()) },
	}
}

// gcPercent is the worker's GOGC where the environment sets none. What it has in
// hand is some megabytes, which Go's own 100 would collect so often under load
// that a quarter of all processor time goes there.
const gcPercent = 300

// run is the worker from its settings to its end.
func run(ctx context.Context, stderr io.Writer) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	// Go ends a process whose standard error nobody reads, at its next line.
	// Deletions do not depend on who reads the log.
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
		log.Warn("variables that Lethe does not know are set; are they misspelled?", "variables", strings.Join(unknown, ", "))
	}

	// The context of the work ends with a signal, or with what makes going on
	// senseless.
	ctx, fatal := context.WithCancelCause(ctx)
	defer fatal(nil)
	defer period.watch(ctx, log)()

	lanes, err := newLanes(cfg, instance, log)
	if err != nil {
		return err
	}
	defer takeLibraryLog(log, lanes)()
	page := newAdmin(instance, tel.MetricsHandler())
	stopAdmin, err := page.serve(cfg.AdminAddr, log)
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

	warnings, told, err := durability(ctx, nc, js, embeddedSyncing(cfg))
	if err != nil {
		return interrupted(ctx, err)
	}
	for _, warning := range warnings {
		if told {
			log.Warn(warning)
		}
	}

	running := lanes.start(js)
	page.watch(nc, js, running)
	stopService, err := announce(nc, instance, running)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer stopService()
	log.Info("lethe runs", "version", buildVersion(), "instance", instance, "nats", natsconn.ConnectedURL(nc), "admin", page.url)

	defer context.AfterFunc(ctx, func() {
		log.Info("stopping: nothing new is taken, calls that are out may finish", "grace", cfg.ShutdownGrace.String())
	})()
	if err := running.run(ctx); err != nil {
		return interrupted(ctx, err)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	log.Info("lethe has stopped")
	return nil
}

// interrupted is err, or the reason why ctx ended where that came first; an end
// that was asked for is no error.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// openNATS connects to the configured server, waiting for it if need be, or
// starts the embedded one.
func openNATS(ctx context.Context, cfg *config.Config, log *slog.Logger, period *grace, fatal func(error)) (*nats.Conn, func(), error) {
	stopServer := func() {}
	server := connection(cfg, "run")
	server.Wait, server.Log, server.OnFatal, server.MayBeDenied = true, log, fatal, []string{jszSubject}
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
		_ = nc.FlushTimeout(period.left(2 * time.Second)) // the last acknowledgements; lost ones bring messages again
		nc.Close()
		stopServer()
	}, nil
}

// openStreams makes sure that the server can do what is needed and that the
// streams are as they must be.
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
				log.Warn("a consumer was missing, created it; its messages waited in the stream", "stream", c.Stream, "consumer", c.Consumer)
			} else {
				log.Info("created a stream", "stream", c.Stream)
			}
		}
		check = func(ctx context.Context) error { return streams.Start(ctx, js, settings) }
	}
	err = untilReady(ctx, log, cfg, func(ctx context.Context) error {
		if err := natsconn.CheckServer(nc, cfg.JetstreamDomain); err != nil {
			return fmt.Errorf("%s: %w", connection(cfg, "run").Credential(), err)
		}
		if cfg.NATSURL.Reveal() != "" { // the embedded server is joined to no other
			if err := natsconn.CheckDomains(ctx, js, writtenSubjects()); err != nil {
				return err
			}
		}
		return check(ctx)
	})
	var problem *streams.Problem
	if errors.As(err, &problem) && problem.MissingBeside {
		return js, nil // each lane is held, and says why, until `lethe setup` has created it
	}
	return js, err
}

// writtenSubjects are subjects that a worker publishes on, and the streams that
// hold them.
func writtenSubjects() map[string]string {
	target, id := events.KVUserContext, uuid.Must(uuid.NewV7()).String()
	return map[string]string{
		events.ResultSubject(target, id, events.Deleted): events.StreamResults,
		events.AttemptSubject(target, id, 1):             events.StreamResults,
		events.LaterSubject(target, id):                  events.StreamLater,
	}
}
