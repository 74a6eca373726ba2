package natsconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// handlers are the callbacks of a connection. nats.go calls them one after the other.
type handlers struct {
	ctx     context.Context
	log     *slog.Logger
	url     string
	onFatal func(error)

	optionalSubjects []string
	onDenied         func(error)

	fatal   sync.Once
	limiter logLimiter
	last    error // the last error passed to failed
}

func (h *handlers) disconnected(nc *nats.Conn, err error) {
	if nc.IsClosed() {
		return
	}
	h.log.WarnContext(h.ctx, "connection to NATS lost, reconnecting", "url", h.url, "reason", reason(err))
}

func (h *handlers) reconnectFailed(_ *nats.Conn, err error) {
	if h.limiter.allow("waiting", time.Now()) {
		h.log.WarnContext(h.ctx, fmt.Sprintf("waiting for NATS at %s", h.url), "reason", reason(err))
	}
}

func (h *handlers) reconnected(nc *nats.Conn) {
	h.log.InfoContext(h.ctx, "connected to NATS again", "url", h.url, "server_version", nc.ConnectedServerVersion())
}

func (h *handlers) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	h.last = err
	if errors.Is(err, nats.ErrPermissionViolation) {
		for _, subject := range h.optionalSubjects {
			if strings.Contains(err.Error(), `"`+subject) {
				if h.onDenied != nil {
					h.onDenied(err)
				}
				return
			}
		}
		h.stop(err)
		return
	}
	if !h.limiter.allow(reason(err), time.Now()) {
		return
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	h.log.WarnContext(h.ctx, "error on the NATS connection", "reason", reason(err), "subject", subject)
}

// closed reports a connection that the library closed, not its owner. An error passed to failed did not close it.
func (h *handlers) closed(nc *nats.Conn) {
	err := nc.LastError()
	if err == nil || h.ctx.Err() != nil || h.last != nil && errors.Is(err, h.last) {
		return
	}
	h.stop(fmt.Errorf("connection to NATS at %s is closed: %w", h.url, err))
}

func (h *handlers) stop(err error) {
	h.fatal.Do(func() {
		h.log.ErrorContext(h.ctx, "NATS connection failed permanently", "reason", reason(err))
		if h.onFatal != nil {
			go h.onFatal(err)
		}
	})
}

func reason(err error) string {
	if err == nil {
		return "closed by the server"
	}
	return oneLine(err)
}

// logLimiter allows one log line about each problem per logEvery.
type logLimiter map[string]time.Time

func (t logLimiter) allow(problem string, now time.Time) bool {
	if last, ok := t[problem]; ok && now.Sub(last) < logEvery {
		return false
	}
	if len(t) >= 32 {
		clear(t) // the text may change each time, for example by a port
	}
	t[problem] = now
	return true
}
