package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/natsconn"
)

// answersWithin is how long a publish waits for its acknowledgement before it is
// repeated.
const answersWithin = 5 * time.Second

// client is the connection of a command that talks to a running system.
type client struct {
	*nats.Conn
	js  jetstream.JetStream
	cfg *config.Config
	// lookups ends when the server denies an optional lookup.
	lookups context.Context
}

// withClient connects a command with the settings from the environment, without
// waiting for a server, and calls do. Its context ends when the server denies a
// permission, which is then the error; otherwise the command would only time out.
// A denial of a subject with one of the optional prefixes ends client.lookups only.
func withClient(cmd *cobra.Command, command string, do func(context.Context, *client) error, optional ...string) error {
	cfg, err := config.Load()
	if err != nil {
		return usageError("%w", err)
	}
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	lookups, deny := context.WithCancelCause(ctx)
	defer deny(nil)
	for i, subject := range optional {
		optional[i] = natsconn.InDomain(subject, cfg.JetstreamDomain)
	}
	server := connection(cfg, command)
	server.Log, server.OnFatal, server.OptionalSubjects, server.OnDenied = slog.New(slog.DiscardHandler), cancel, slices.Concat(optional, []string{jszSubject}), deny
	nc, err := dial(ctx, cfg, server)
	if err != nil {
		return err
	}
	defer func() {
		cancel(nil)
		nc.Close()
	}()
	if err := natsconn.CheckServer(ctx, nc, cfg.JetstreamDomain); err != nil {
		return fmt.Errorf("%s: %w", server.Credential(), err)
	}
	js, err := natsconn.JetStream(nc, cfg.JetstreamDomain, jetstream.WithPublishAsyncTimeout(answersWithin))
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	if err := do(ctx, &client{nc, js, cfg, lookups}); err != nil {
		if denied := context.Cause(ctx); errors.Is(denied, nats.ErrPermissionViolation) {
			return denied
		}
		return noJetStream(err, cfg)
	}
	return nil
}

// dial connects a command. Its error explains the default URL if none is set.
func dial(ctx context.Context, cfg *config.Config, server natsconn.Config) (*nats.Conn, error) {
	nc, err := natsconn.Connect(ctx, server)
	if err != nil && cfg.NATSURL.Reveal() == "" {
		err = fmt.Errorf("%w (LETHE_NATS_URL is not set, so this is the embedded server of `lethe run`)", err)
	}
	return nc, err
}

// connection returns the connection settings from the environment.
func connection(cfg *config.Config, command string) natsconn.Config {
	return natsconn.Config{
		URL: cfg.ClientURL(), URLName: config.NATSURLName(), Command: command,
		Creds: cfg.NATS.Creds, NKey: cfg.NATS.Nkey, CA: cfg.NATS.CA, Cert: cfg.NATS.Cert, Key: cfg.NATS.Key, TLSFirst: cfg.NATS.TLSFirst,
	}
}

// noJetStream names the variable if an error means that the account has no JetStream,
// or that no JetStream answers in the domain.
func noJetStream(err error, cfg *config.Config) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%s: %w: the account of this credential has no JetStream", connection(cfg, "").Credential(), natsconn.ErrNoJetStream)
	case cfg.JetstreamDomain != "" && (errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled)):
		return fmt.Errorf("LETHE_JETSTREAM_DOMAIN: no JetStream answers in the domain %q: %w", cfg.JetstreamDomain, err)
	}
	return err
}

// askAll publishes an empty request and returns the answers that arrive in time.
func askAll(ctx context.Context, nc *nats.Conn, subject string, within time.Duration) (all []*nats.Msg, err error) {
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answers.Unsubscribe() }()
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		msg, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return all, nil // no more answers
		}
		all = append(all, msg)
	}
}
