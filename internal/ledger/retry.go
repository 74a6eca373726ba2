package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/internal/text"
)

// tryWithin bounds one try of storing or looking.
const tryWithin = 5 * time.Second

// Retry does what must be done before a message can be acknowledged, with backoff,
// until it succeeds, the message is too large ever to be stored, or ctx ends. While
// it fails, [Ledger.Failing] says why. what names the subject or stream.
func (l *Ledger) Retry(ctx context.Context, what string, do func(context.Context) error) error {
	try := func() error {
		ctx, cancel := context.WithTimeout(ctx, tryWithin)
		defer cancel()
		err := do(ctx)
		if oversized(err) {
			return backoff.Permanent(err)
		}
		return err
	}
	err := try()
	var permanent *backoff.PermanentError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &permanent):
		return permanent.Err
	}
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	sleep(ctx, policy.NextBackOff())
	key := new(byte)
	defer func() { l.failures.end(key, ctx.Err() == nil) }()
	return backoff.RetryNotify(try, backoff.WithContext(policy, ctx), func(err error, next time.Duration) {
		if next > time.Second/4 { // a concurrent publish that is not settled is no failure
			l.failures.add(key, fmt.Sprintf("%s: %s", what, FailureText(l.js, err)))
		}
	})
}

// Failing returns why a record or schedule cannot be stored at the moment, "" if all
// can.
func (l *Ledger) Failing() string { return l.failures.any() }

// remedy says what to do about a full stream, account or disk, "" where waiting is
// the remedy.
func remedy(err error) string {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return ""
	}
	switch api.ErrorCode {
	case errCodeStoreFailed:
		return "; where the stream is full, raise its max_bytes or max_msgs, else look at the server's disk"
	case errCodeAccountFull:
		return "; raise the JetStream storage of the account"
	case errCodeDiskFull, errCodeServerFull:
		return "; free disk space, or raise max_file_store of the server"
	}
	return ""
}

// The server's codes for storage that is used up (errors.json of nats-server).
const (
	errCodeAccountFull jetstream.ErrorCode = 10002
	errCodeServerFull  jetstream.ErrorCode = 10023
	errCodeDiskFull    jetstream.ErrorCode = 10047
	errCodeStoreFailed jetstream.ErrorCode = 10077
)

// oversized says that a message can never be stored: it has to wait alone.
func oversized(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == errCodeHeaderTooLarge || api.ErrorCode == errCodeMessageTooLarge
	}
	return errors.Is(err, nats.ErrMaxPayload)
}

// The server's codes for messages over its limits (errors.json of nats-server).
const (
	errCodeMessageTooLarge jetstream.ErrorCode = 10054
	errCodeHeaderTooLarge  jetstream.ErrorCode = 10097
)

// NotConnected is why anything fails while the connection is down. The connection's
// own handlers log that, once.
const NotConnected = "not connected to NATS"

// FailureText is err in words. While the connection is down nats.go says that its
// buffer is full, or only that an answer did not come in time.
func FailureText(js jetstream.JetStream, err error) string {
	if !js.Conn().IsConnected() || errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrDisconnected) {
		return NotConnected
	}
	return text.Error(err) + remedy(err)
}

// failures are the tries that fail at the moment. It logs when the first one begins
// and when the last one ends.
type failures struct {
	log *slog.Logger

	mu      sync.Mutex
	failing map[any]string
	logged  bool
	gaveUp  bool // a try that was given up because the worker stops
}

func newFailures(log *slog.Logger) *failures {
	return &failures{log: log, failing: map[any]string{}}
}

// add says that the try known by key fails, for a reason.
func (f *failures) add(key any, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.logged && !strings.HasSuffix(reason, NotConnected) {
		f.log.Error("a step cannot be stored; nothing is acknowledged and nothing fetched until it is", "reason", reason)
		f.logged = true
	}
	f.failing[key] = reason
}

// end says that the try known by key fails no more: it succeeded, or the worker gave
// up because it stops.
func (f *failures) end(key any, succeeded bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.failing, key)
	f.gaveUp = f.gaveUp || !succeeded
	if !f.logged || len(f.failing) > 0 {
		return
	}
	f.logged = false
	if !f.gaveUp {
		f.log.Info("steps are stored again")
	} else {
		f.log.Warn("steps could not be stored until the end; their messages will be delivered again")
	}
}

// any returns the reason of one of them, "" when there is none.
func (f *failures) any() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, reason := range f.failing {
		return reason
	}
	return ""
}
