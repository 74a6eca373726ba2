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

// handlers are what a connection tells while it lives. nats.go calls them one after the other.
type handlers struct {
	ctx     context.Context
	log     *slog.Logger
	url     string
	onFatal func(error)

	mayBeDenied []string
	onDenied    func(error)

	fatal sync.Once
	said  throttle
	last  error // the latest error that failed has seen
}

func (h *handlers) disconnected(nc *nats.Conn, err error) {
	if nc.IsClosed() {
		return
	}
	h.log.WarnContext(h.ctx, "connection to NATS lost, reconnecting", "url", h.url, "why", text(err))
}

func (h *handlers) notYet(_ *nats.Conn, err error) {
	if h.said.allow("waiting", time.Now()) {
		h.log.WarnContext(h.ctx, fmt.Sprintf("waiting for NATS at %s", h.url), "why", text(err))
	}
}

func (h *handlers) reconnected(nc *nats.Conn) {
	h.log.InfoContext(h.ctx, "connected to NATS again", "url", h.url, "server_version", nc.ConnectedServerVersion())
}

func (h *handlers) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	h.last = err
	if errors.Is(err, nats.ErrPermissionViolation) {
		for _, subject := range h.mayBeDenied {
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
	if !h.said.allow(text(err), time.Now()) {
		return
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	h.log.WarnContext(h.ctx, "error on the NATS connection", "why", text(err), "subject", subject)
}

// closed tells a connection that its owner closed from one that the library gave up. An error that failed has
// seen did not close it.
func (h *handlers) closed(nc *nats.Conn) {
	err := nc.LastError()
	if err == nil || h.ctx.Err() != nil || h.last != nil && errors.Is(err, h.last) {
		return
	}
	h.stop(fmt.Errorf("connection to NATS at %s is closed: %w", h.url, err))
}

func (h *handlers) stop(err error) {
	h.fatal.Do(func() {
		h.log.ErrorContext(h.ctx, "NATS connection cannot go on", "why", text(err))
		if h.onFatal != nil {
			go h.onFatal(err)
		}
	})
}

func text(err error) string {
	if err == nil {
		return "closed by the server"
	}
	return oneLine(err)
}

// throttle lets one line about each trouble through in sayEvery.
type throttle map[string]time.Time

func (t throttle) allow(trouble string, now time.Time) bool {
	if last, ok := t[trouble]; ok && now.Sub(last) < sayEvery {
		return false
	}
	if len(t) >= 32 {
		clear(t) // a trouble may carry what changes each time, such as a port
	}
	t[trouble] = now
	return true
}
