// Package natsconn connects Lethe to NATS: to an external server, or to a server embedded in the process.
//
// It retries temporary errors and returns permanent ones. While a server is down, restarting or unreachable, Lethe
// waits without a limit and logs it. A wrong password, an unknown certificate, a server that is too old or a missing
// permission needs a person, so it stops the start, or the worker, with an error of one line.
package natsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// reachWithin is the timeout for connecting without Config.Wait.
	reachWithin = 5 * time.Second
	// logEvery is the minimum time between two log lines about the same problem.
	logEvery = 10 * time.Second
	// retryAfter is the minimum delay between two tries. A random delay of up to the same length is added, so that
	// not all workers reconnect at the same time.
	retryAfter = 500 * time.Millisecond
	// pingEvery is the ping interval. A dead link is detected within three intervals.
	pingEvery = 10 * time.Second
)

// Config configures a connection.
type Config struct {
	// URL is the URL of a server, or several separated by commas. It may contain a password, which is never shown.
	URL string
	// URLName is the variable that URL comes from, for errors. Empty means LETHE_NATS_URL.
	URLName string
	// Creds, NKey (a seed), CA, Cert and Key are paths of files. Empty ones are not used.
	Creds, NKey, CA, Cert, Key string
	// TLSFirst starts with the TLS handshake, for servers with handshake_first.
	TLSFirst bool
	// Command is the name of the connecting command. The client name is "lethe <command>".
	Command string
	// Wait makes Connect wait for a server that is not reachable yet. Otherwise it returns an error after 5 s.
	Wait bool
	// Log receives the events of the connection. nil means slog.Default().
	Log *slog.Logger
	// OptionalSubjects are subject prefixes the command can do without; a permission error on one is not fatal.
	// OnDenied, if set, is called with it.
	OptionalSubjects []string
	OnDenied         func(error)
	// OnFatal is called, at most once and in its own goroutine, with an error that does not end by waiting: a missing
	// permission (nats.ErrPermissionViolation, with the subject in its text), or a connection that the client library
	// has closed. Closing the connection while it is disconnected may look the same, so cancel Connect's context
	// before you close the connection. OnFatal may be nil.
	OnFatal func(error)
}

// Connect connects to NATS. Its error is one line and is ErrUnreachable, ErrRefused, ErrTLS or ErrSettings, or the cause
// of ctx if that ends first. Once connected, the connection reconnects without a limit. While it is disconnected, a
// publish fails immediately (nats.ErrReconnectBufExceeded), because a crash would lose a publish buffered in memory.
func Connect(ctx context.Context, c Config) (*nats.Conn, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	urls, err := ParseURLs(c.URL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", c.urlName(), ErrSettings, err)
	}
	shown := withoutUsers(urls)
	identity, err := c.identity()
	if err != nil {
		return nil, err
	}
	options := append(c.options(ctx, shown), identity...)
	if !c.Wait {
		limited, cancel := context.WithTimeoutCause(ctx, reachWithin, errSilent)
		defer cancel()
		nc, err := try(limited, c.URL, options)
		if err == nil || ctx.Err() != nil {
			return nc, err
		}
		return nil, c.classify(c.diagnoseSilence(ctx, urls, err), shown)
	}

	limiter := logLimiter{}
	for {
		nc, err := try(ctx, c.URL, options)
		if err == nil {
			c.Log.InfoContext(ctx, "connected to NATS", "url", shown, "server_version", nc.ConnectedServerVersion())
			return nc, nil
		}
		if ctx.Err() == nil {
			err = c.classify(c.diagnoseSilence(ctx, urls, err), shown)
			if !errors.Is(err, ErrUnreachable) {
				return nil, err
			}
			if limiter.allow("waiting", time.Now()) {
				c.Log.WarnContext(ctx, fmt.Sprintf("waiting for NATS at %s", shown), "reason", errors.Unwrap(err).Error())
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for NATS at %s: %w", shown, context.Cause(ctx))
		case <-time.After(retryAfter + rand.N(retryAfter)):
		}
	}
}

// diagnoseSilence returns errTLSFirst if a server accepts the connection and sends nothing because it waits for a TLS
// handshake. Waiting would not help then. Otherwise it returns err.
func (c Config) diagnoseSilence(ctx context.Context, urls []*url.URL, err error) error {
	var network net.Error
	silent := errors.Is(err, errSilent) || errors.Is(err, io.EOF) || errors.As(err, &network) && network.Timeout()
	if c.TLSFirst || !silent {
		return err
	}
	for _, u := range urls {
		port := u.Port()
		if port == "" {
			port = "4222"
		}
		limited, cancel := context.WithTimeout(ctx, nats.DefaultTimeout)
		// Nothing is sent, so the certificate does not matter.
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		conn, problem := dialer.DialContext(limited, "tcp", net.JoinHostPort(u.Hostname(), port))
		cancel()
		if problem == nil {
			_ = conn.Close()
		}
		if problem == nil || isAlert(problem) {
			return errTLSFirst
		}
	}
	return err
}

// try connects once, to any of the servers. The library's Connect takes no context.
func try(ctx context.Context, url string, options []nats.Option) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(url, options...)
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.nc != nil {
				r.nc.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func (c Config) options(ctx context.Context, shown string) []nats.Option {
	h := &handlers{ctx: ctx, log: c.Log, url: shown, optionalSubjects: c.OptionalSubjects, onDenied: c.OnDenied, onFatal: c.OnFatal, limiter: logLimiter{}}
	return []nats.Option{
		nats.Name(strings.TrimSpace("lethe " + c.Command)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(retryAfter),
		nats.ReconnectJitter(retryAfter, retryAfter),
		nats.ReconnectBufSize(-1),
		nats.SetCustomDialer(&coalescingDialer{net.Dialer{Timeout: nats.DefaultTimeout}}),
		nats.PingInterval(pingEvery),
		// Keep trying after an authentication error: a restarting server may not have loaded its accounts yet, or the
		// credential is being replaced. Each try reads the file again.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(h.disconnected),
		nats.ReconnectErrHandler(h.reconnectFailed),
		nats.ReconnectHandler(h.reconnected),
		nats.ErrorHandler(h.failed),
		nats.ClosedHandler(h.closed),
	}
}

// ConnectedURL returns the URL of the server that nc is connected to, without user, password and token; "" if it is
// not connected. The library's ConnectedUrlRedacted shows a token.
func ConnectedURL(nc *nats.Conn) string {
	if nc.ConnectedUrl() == "" {
		return ""
	}
	urls, err := ParseURLs(nc.ConnectedUrl())
	if err != nil {
		return ""
	}
	return withoutUsers(urls)
}
