// Package consumer carries a request from its message to its result: it takes one
// message, makes one step of one request, stores that step, and only then
// acknowledges the message.
//
// A [Lane] serves one target with its own durable consumers, concurrency, rate,
// breaker and credential, so that no target delays another. Read the files in this
// order. Each uses only what is in the files after it.
//
// The steps of a request:
//
//	lane.go           fetches messages, and starts the workers of batches
//	receive.go        reads a message and the progress that its request starts from
//	invalid.go        answers an event that breaks the contract
//	refused_alone.go  postpones requests that the API has refused alone
//	process.go        works on a batch: permission, claims, call, next steps
//	call.go           makes the calls of a batch
//	claim.go          makes sure, before a call, that no other worker is ahead
//	store.go          makes a step durable: its result, and its next message
//	publish.go        writes attempts and results
//	lost.go           whether records of a request may be gone
//	health.go         checks the streams, and extends ack deadlines, while a lane runs
//	state.go          reports what the lane does: running, or why not
//	settle.go         acknowledges a message, or has it delivered again
//
// The lane and its parts:
//
//	consumer.go       the configuration of a lane, and the lane
//	decide.go         the pure function from progress, answer and time to the next step
//	bisect.go         finds out which requests of a batch an answer is about
//	trace.go          spans
//	metrics.go        counters and histograms
//	batch.go          the batcher, which puts requests together for one call
//	retention.go      how long the results stream keeps records
//	inflight.go       deliveries in flight, and their ack deadlines
//	ack_wait.go       how long the server waits before it delivers a message again
//	byte_limit.go     how many bytes the lane may have in flight
//	later_usage.go    how full the stream of next steps is
//	outcomes.go       logs results and their number
//	slow.go           finds out whether calls are slow
//	announce.go       logs the changes of a lane's state
//	problem.go        the seven states of a lane, and its problems
//	refusals.go       whether many requests are refused
//	pulls.go          whether pulls work
//	pull.go           one pull, which asks the server for messages
//	clock.go          the server's time, and whether a deadline has passed
//	wait.go           timers
//
// When a call may be made, and how long a request waits, is in package limiter;
// what is stored of a request, in package ledger.
//
// Everything durable is in JetStream. A worker has nothing that it could lose, so
// any number of workers can start, run and die anywhere.
package consumer

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/control"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/limiter"
)

// Config describes a lane: its target, its limits and its rules.
type Config struct {
	// Target names the lane, its subjects and its two durable consumers.
	Target events.Target
	// Deleter makes the calls.
	Deleter deleter.Deleter
	// RecordAttempts is for APIs whose answer depends on what was done before:
	// a 404 after our own deletion. Each attempt is then stored before its call.
	RecordAttempts bool
	// Concurrency is the most calls in flight at the same time, at least 1. The lane
	// makes fewer while the API answers faster with fewer.
	Concurrency int
	// BatchIDs is the most ids in one call. From 2 on, requests for user contexts share
	// calls. BatchLinger is how long a request waits for others.
	BatchIDs    int
	BatchLinger time.Duration
	// Rate is the most calls a second; 0 means no limit but the API's own, which the lane
	// learns.
	Rate float64
	// Timeout bounds one call. The lease of a recorded attempt is a few seconds longer.
	Timeout time.Duration
	// ResultsMinAge is the shortest time that the results stream must keep its messages,
	// so that none expires while its request is open. 0 disables the check.
	ResultsMinAge time.Duration
	// Rules are the delays and limits that decide on the next step.
	Rules Rules
	// Instance names this worker in events and attempts, and must be new for
	// each process: a record of an earlier process belongs to another worker.
	Instance string
	// Version of the program, for the list of workers; it may be empty.
	Version string
	// Grace is how long the lane may take to end once stop has ended: to
	// finish the calls in flight, and to store their answers.
	Grace time.Duration
	// MaxBytesInFlight is how many bytes of messages the lane may have in flight; 0 is 32 MiB.
	MaxBytesInFlight int64
	// ManageStreams lets the lane recreate a consumer of its own where messages are
	// stranded: the server would not deliver them.
	ManageStreams bool
	// CheckDomains returns a problem if another JetStream domain has joined and would
	// store what the lane publishes, else nil. If it is set, the lane calls it before
	// each check of its streams but the first.
	CheckDomains func(ctx context.Context, js jetstream.JetStream) (*Problem, error)
	// Log receives what an operator should know. nil means slog.Default().
	Log *slog.Logger
	// LogLimits are those of the worker. nil: the lane has its own.
	LogLimits *LogLimits
	// Variables name the lane's settings in reports.
	Variables Variables
}

// maxPullForBatches bounds the requests that one pull fetches if requests share calls.
const maxPullForBatches = 200

// leaseSlack is how much longer a lease is than the call's timeout: time to store the
// attempt before the call.
const leaseSlack = 5 * time.Second

// requestLedger is the part of [ledger.Ledger] that a lane uses.
type requestLedger interface {
	NewAttempt(ctx context.Context, id, fingerprint string, p ledger.Progress, lease time.Duration) *ledger.Pending
	NewResult(ctx context.Context, id, fingerprint string, p ledger.Progress, r events.Result) (*ledger.Pending, error)
	Append(ctx context.Context, p *ledger.Pending) error
	AppendAll(ctx context.Context, all []*ledger.Pending)
	CheckHead(ctx context.Context, id string, p ledger.Progress) error
	Last(ctx context.Context, id string) (*ledger.Record, error)
	NoneExist(ctx context.Context, ids []string) bool
	LearnReplicas(ctx context.Context) error
	Schedule(ctx context.Context, id string, msg *nats.Msg, p ledger.Progress, at time.Time) error
	IsScheduled(ctx context.Context, id string, due uint64, now time.Time) (bool, error)
	RetryScheduled(ctx context.Context) (bool, error)
	BringForward(ctx context.Context, id string, at time.Time) error
	Retry(ctx context.Context, stream string, do func(context.Context) error) error
	Failing() []ledger.Failure
}

// New returns the lane that c describes, on the streams that [Setup] made.
func New(js jetstream.JetStream, c Config) *Lane {
	log := cmp.Or(c.Log, slog.Default()).With("target", string(c.Target))
	l := &Lane{
		config:   c,
		js:       js,
		log:      log,
		clock:    newClock(),
		maxPull:  c.Concurrency,
		inflight: newInflight(),
		batcher:  &batcher{maxIDs: max(c.BatchIDs, 1)},
		trace:    newTracing(c.Target),
		metrics:  newMetrics(c.Target),
		ackWait:  &ackWaits{},
		pulls:    newPulls(js),
		changed:  make(chan struct{}, 1),
		calls:    context.Background(),

		latencies: newLatencies(),
		outcomes:  newOutcomeLog(log, c.LogLimits),
	}
	if c.BatchIDs > 1 {
		l.maxPull = max(c.Concurrency, min(c.Concurrency*c.BatchIDs, maxPullForBatches))
	}
	l.prefetch = semaphore.NewWeighted(int64(4 * l.maxPull)) // two pulls of each stream
	l.breaker = limiter.NewBreaker(c.Rules.Retry)
	l.limiter = limiter.New(limiter.Config{
		Concurrency: c.Concurrency, Rate: c.Rate, Timeout: c.Timeout, MaxWait: c.Rules.Retry.MaxInterval,
	})
	l.control = control.NewLease(js, control.Config{
		Target: c.Target, Instance: c.Instance, Version: c.Version, CallTimeout: c.Timeout, Log: log,
	})
	l.ledger = ledger.New(js, c.Target, c.Instance, log)
	return l
}

// Lane serves one target: it fetches its requests and due steps, and makes one
// step of each. Lanes share nothing but the connection.
type Lane struct {
	config     Config
	js         jetstream.JetStream
	log        *slog.Logger
	clock      *clock
	maxPull    int                 // messages in one pull
	prefetch   *semaphore.Weighted // messages for which no call has begun
	batcher    *batcher
	inflight   *inflight
	steps      sync.WaitGroup // batches, and what runs beside them
	breaker    *limiter.Breaker
	limiter    *limiter.Limiter
	control    *control.Lease // the right to call, which a person can pause
	ledger     requestLedger
	retention  retention
	refusals   refusals
	trace      *tracing
	metrics    *metrics
	ackWait    *ackWaits
	laterUsage laterUsage
	pulls      *pulls
	latencies  *latencies
	outcomes   *outcomeLog

	off         atomic.Pointer[Problem] // why the lane is off, nil if it is not
	otherDomain atomic.Pointer[Problem] // the domain that has joined, nil if none has
	unsafe      unsafeSettings
	startTimes  startTimes

	calls      context.Context // of all calls: ends when those in flight must
	unfinished atomic.Int64    // steps that the end of the grace period interrupted

	refused atomic.Pointer[string] // the id that the API refused last
	changed chan struct{}          // signals that the credential has changed
}

// callGrace is how long calls may run after stop: the grace period without the time
// that storing their answers may take.
func (l *Lane) callGrace() time.Duration { return l.config.Grace - min(l.config.Grace/8, storeGrace) }

// storeGrace is the part of a long grace period in which answers are stored.
const storeGrace = 3 * time.Second
