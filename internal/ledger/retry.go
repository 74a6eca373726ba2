package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/internal/streams"
	"github.com/lethe-dev/lethe/internal/text"
)

// tryTimeout bounds one try of storing or reading.
const tryTimeout = 5 * time.Second

// Retry calls do, which reads from a stream or publishes to it, with backoff until it
// succeeds, the message is too large ever to be stored, or ctx ends. While it fails,
// [Ledger.Failing] says why. It is for what must succeed before a message can be
// acknowledged.
func (l *Ledger) Retry(ctx context.Context, stream string, do func(context.Context) error) error {
	err := once(ctx, do)
	if err == nil {
		return nil
	}
	if permanent, ok := errors.AsType[*backoff.PermanentError](err); ok {
		return permanent.Err
	}
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	sleep(ctx, policy.NextBackOff())
	key, begun := new(byte), time.Now()
	defer func() { l.failures.end(key, ctx.Err() == nil) }()
	try := func() error { return once(ctx, do) }
	return backoff.RetryNotify(try, backoff.WithContext(policy, ctx), func(err error, next time.Duration) {
		if next > time.Second/4 { // a short delay by a concurrent publish is not a failure
			l.failed.count()
			l.failures.add(key, Failure{Reason: fmt.Sprintf("stream %s: %s", stream, FailureText(l.js, err)), Fix: FailureFix(l.js, stream, err), Since: begun})
		}
	})
}

// once makes one try. Its error is permanent if no other try can succeed.
func once(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	err := do(ctx)
	if oversized(err) {
		return backoff.Permanent(err)
	}
	return err
}

// Failure is why something cannot be stored or fetched.
type Failure struct {
	Reason string    // names the stream
	Fix    string    // what to do about it, one sentence
	Since  time.Time // when it began
}

// Failing returns why records or schedules cannot be stored at the moment, the
// earliest reason first, and nil if all can.
func (l *Ledger) Failing() []Failure { return l.failures.all() }

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}

// FailureFix says in one sentence what to do about an error of the server in an
// operation on a stream.
func FailureFix(js jetstream.JetStream, stream string, err error) string {
	if FailureText(js, err) == NotConnected {
		return "start the NATS server, or correct LETHE_NATS_URL; the worker reconnects by itself"
	}
	if isTimeout(err) { // a server whose disk is full does not answer
		return checkDisk
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case errCodeStoreFailed:
			return fixStoreFailed(stream, api.Description)
		case errCodeAccountFull:
			return "raise the JetStream storage of the account"
		case errCodeDiskFull, errCodeServerFull:
			return "free disk space, or raise max_file_store of the server"
		}
	}
	return "check the streams with `lethe status`, and read the NATS server's log; the worker tries again by itself"
}

const checkDisk = "check that the server's disk has space, and read its log; the worker tries again by itself"

// fixStoreFailed returns what to do if a stream cannot store a message. One code means
// that the stream is full or that its disk fails; only the description tells which.
func fixStoreFailed(stream, description string) string {
	switch {
	case strings.HasPrefix(description, "maximum bytes"):
		return streams.RaiseLimit(stream)
	case strings.HasPrefix(description, "maximum messages"):
		return "raise max_msgs with `nats stream edit " + stream + " --max-msgs`"
	default:
		return checkDisk
	}
}

// The server's codes for storage that is used up (errors.json of nats-server).
const (
	errCodeAccountFull jetstream.ErrorCode = 10002
	errCodeServerFull  jetstream.ErrorCode = 10023
	errCodeDiskFull    jetstream.ErrorCode = 10047
	errCodeStoreFailed jetstream.ErrorCode = 10077
)

// oversized reports whether a message is too large ever to be stored. Only its own
// request waits then.
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

// FailureText describes err in one line. While the connection is down nats.go says that
// its buffer is full, or only that an answer did not come in time.
func FailureText(js jetstream.JetStream, err error) string {
	if !js.Conn().IsConnected() || errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrDisconnected) {
		return NotConnected
	}
	if isTimeout(err) {
		return "the server does not answer in time"
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return strings.ReplaceAll(text.Error(err), text.Error(api), fmt.Sprintf("%s (error %d of the server)", api.Description, api.ErrorCode))
	}
	return text.Error(err)
}

// failures are the operations that fail at the moment. When the worker stops, it logs
// that some did until then.
type failures struct {
	log *slog.Logger

	mu          sync.Mutex
	failing     map[any]Failure
	interrupted bool // an operation ended because the worker stops
}

func newFailures(log *slog.Logger) *failures {
	return &failures{log: log, failing: map[any]Failure{}}
}

// add records that the operation known by key fails.
func (f *failures) add(key any, failure Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing[key] = failure
}

// end records that the operation known by key no longer fails: it succeeded, or it ended
// because the worker stops.
func (f *failures) end(key any, succeeded bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, failed := f.failing[key]; !failed {
		return
	}
	delete(f.failing, key)
	f.interrupted = f.interrupted || !succeeded
	if f.interrupted && len(f.failing) == 0 {
		f.log.Warn("steps could not be stored before the worker stopped; their messages will be delivered again")
	}
}

// all returns the failures, of those for the same reason the earliest, in the order
// in which they began.
func (f *failures) all() (all []Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := map[string]Failure{}
	for _, failure := range f.failing {
		if known, ok := first[failure.Reason]; !ok || failure.Since.Before(known.Since) {
			first[failure.Reason] = failure
		}
	}
	return slices.SortedFunc(maps.Values(first), func(a, b Failure) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Reason, b.Reason))
	})
}
