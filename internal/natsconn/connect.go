// Package natsconn gives Lethe its connection to NATS: to a server named by a URL, or to one started inside the
// process.
//
// Its one idea: trouble that passes is waited out, and trouble that a person must mend is an error at once. A
// server that is down, restarting or out of reach is waited for, for as long as it takes, and said in the log. A
// wrong password, an unknown certificate, a server that is too old or a missing permission never heal by waiting,
// so they end the start, or the worker, with one line that says what is wrong.
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
	// reachWithin is how long a command that does not wait tries to reach a server.
	reachWithin = 5 * time.Second
	// sayEvery is the pause between two log lines about the same trouble.
	sayEvery = 10 * time.Second
	// retryAfter is the least pause between two tries; as much again is random, so that a fleet does not come
	// back all at once.
	retryAfter = 500 * time.Millisecond
	// pingEvery makes a dead link show within three times as long.
	pingEvery = 10 * time.Second
)

// Config says where to connect and how to behave.
type Config struct {
	// URL of a server, or of several with commas between. It may hold a password, which is never shown.
	URL string
	// URLName is the variable that URL comes from, for errors; empty is LETHE_NATS_URL.
	URLName string
	// Creds, NKey (a seed), CA, Cert and Key are files; empty ones are not used.
	Creds, NKey, CA, Cert, Key string
	// TLSFirst begins with the TLS handshake, for servers with handshake_first.
	TLSFirst bool
	// Command is the name of the command that connects, shown by the server as "lethe <command>".
	Command string
	// Wait for a server that cannot be reached yet. Without it Connect gives up after 5 s.
	Wait bool
	// Log takes what happens to the connection; nil is slog.Default().
	Log *slog.Logger
	// MayBeDenied are beginnings of subjects that are asked for where that is allowed. That it is not is no trouble:
	// OnDenied is told, if there is one.
	MayBeDenied []string
	OnDenied    func(error)
	// OnFatal is called, at most once and from a goroutine of its own, for what waiting does not mend: a missing
	// permission (nats.ErrPermissionViolation, with the subject in its text), or a connection that the client
	// library has given up. Closing the connection while the server is away may look like the latter, so a
	// caller that closes stops listening first, or ends Connect's context before. May be nil.
	OnFatal func(error)
}

// Connect connects, or says in one line why not: ErrUnreachable, ErrRefused, ErrTLS or ErrSettings, or, when ctx
// ended first, its error. Once connected, the connection comes back by itself for ever, and publishing while it is
// away fails at once (nats.ErrReconnectBufExceeded) rather than being kept in memory, where a crash would lose it.
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
		return nil, c.classify(c.whySilent(ctx, urls, err), shown)
	}

	said := throttle{}
	for {
		nc, err := try(ctx, c.URL, options)
		if err == nil {
			c.Log.InfoContext(ctx, "connected to NATS", "url", shown, "server_version", nc.ConnectedServerVersion())
			return nc, nil
		}
		if ctx.Err() == nil {
			err = c.classify(c.whySilent(ctx, urls, err), shown)
			if !errors.Is(err, ErrUnreachable) {
				return nil, err
			}
			if said.allow("waiting", time.Now()) {
				c.Log.WarnContext(ctx, fmt.Sprintf("waiting for NATS at %s", shown), "why", errors.Unwrap(err).Error())
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for NATS at %s: %w", shown, context.Cause(ctx))
		case <-time.After(retryAfter + rand.N(retryAfter)):
		}
	}
}

// whySilent looks, where a server took the connection and said nothing, whether it waits for a TLS handshake.
// No waiting would help then.
func (c Config) whySilent(ctx context.Context, urls []*url.URL, err error) error {
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
		// Nothing is sent, so it does not matter who answers.
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

// try connects once to whichever server answers. The library's own Connect knows no context.
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
	h := &handlers{ctx: ctx, log: c.Log, url: shown, mayBeDenied: c.MayBeDenied, onDenied: c.OnDenied, onFatal: c.OnFatal, said: throttle{}}
	return []nats.Option{
		nats.Name(strings.TrimSpace("lethe " + c.Command)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(retryAfter),
		nats.ReconnectJitter(retryAfter, retryAfter),
		nats.ReconnectBufSize(-1),
		nats.SetCustomDialer(&coalescingDialer{net.Dialer{Timeout: nats.DefaultTimeout}}),
		nats.PingInterval(pingEvery),
		// A connection that was good once is not given up because a server restarts with its accounts not yet
		// loaded, or because a credential is being replaced: the file is read again with each try.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(h.disconnected),
		nats.ReconnectErrHandler(h.notYet),
		nats.ReconnectHandler(h.reconnected),
		nats.ErrorHandler(h.failed),
		nats.ClosedHandler(h.closed),
	}
}

// ConnectedURL is the URL of the server that nc is connected to, without user, password and token; "" where there is
// none. The library's own ConnectedUrlRedacted shows a token.
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
