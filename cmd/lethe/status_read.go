package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/streams"
)

const (
	// workersAnswerWithin is how long status waits for the workers' answers.
	workersAnswerWithin = 500 * time.Millisecond
	// partWithin limits each part of the status; all are read at the same time.
	partWithin = 2500 * time.Millisecond
	// nearlyFull is the share of its limit, in percent, at which a stream is a problem.
	nearlyFull = 90
)

// statusReading reads the parts of a status at the same time. A part that cannot be
// read is a problem and does not prevent the others from being read.
type statusReading struct {
	cfg *config.Config

	mu       sync.Mutex
	status   status
	reported map[string]bool // denied permissions
	maxAge   time.Duration   // of results
	unusable error           // why no part of JetStream can be read
}

func newStatusReading(cfg *config.Config) *statusReading {
	r := &statusReading{cfg: cfg, reported: map[string]bool{}, status: status{
		Workers: []workerStats{}, Streams: []streamStatus{}, Problems: []statusProblem{}, Notes: []string{}, Warnings: []string{},
	}}
	for _, target := range events.Targets() {
		r.status.Lanes = append(r.status.Lanes, laneStatus{Target: target})
	}
	return r
}

// report adds a problem.
func (r *statusReading) report(p statusProblem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Problems = append(r.status.Problems, p)
}

// denied reports a permission that the server denies.
func (r *statusReading) denied(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reported[err.Error()] {
		return
	}
	r.reported[err.Error()] = true
	r.status.Problems = append(r.status.Problems, statusProblem{
		About: "NATS", Reason: err.Error(), Fix: "give the user of " + connection(r.cfg, "status").Credential() + " this permission, or use that of an administrator",
	})
}

// read fails only if nothing can be read, because JetStream cannot be used.
func (r *statusReading) read(ctx context.Context, nc *nats.Conn) (*status, error) {
	parts, cancel := context.WithTimeout(ctx, partWithin)
	defer cancel()
	var reading sync.WaitGroup
	part := func(name string, read func(context.Context) error) {
		reading.Go(func() {
			if err := read(parts); err != nil {
				r.unavailable(name, noJetStream(err, r.cfg))
			}
		})
	}
	answered := make(chan struct{}) // by the workers
	part("the workers", func(ctx context.Context) error { defer close(answered); return r.readWorkers(ctx, nc) })
	if js := r.jetStream(parts, nc); js != nil {
		part("the streams", func(ctx context.Context) error { r.readStreams(ctx, js); return nil })
		part("the sync settings of the servers", func(ctx context.Context) error { <-answered; return r.readDurability(ctx, nc, js) })
		for i := range r.status.Lanes {
			l := &r.status.Lanes[i]
			part("the number of scheduled requests of "+string(l.Target), func(ctx context.Context) error {
				return set(&l.Scheduled, func() (uint64, error) {
					return streams.Count(ctx, js, events.StreamLater, streams.ScheduledCounter(l.Target))
				})
			})
			part("the failed results of "+string(l.Target), func(ctx context.Context) error {
				return set(&l.Failed, func() (uint64, error) {
					return streams.Count(ctx, js, events.StreamResults, streams.FailedCounter(l.Target))
				})
			})
			part("the age of the oldest request of "+string(l.Target), func(ctx context.Context) error {
				oldest, err := oldestMessage(ctx, js, l.Target)
				if err == nil && !oldest.IsZero() {
					l.Oldest = &oldest
				}
				return err
			})
		}
	}
	reading.Wait()
	if r.unusable != nil && len(r.status.Workers)+len(r.status.Streams) == 0 {
		return nil, r.unusable
	}
	r.status.judge(r.maxAge)
	return &r.status, nil
}

// jetStream returns the JetStream API, nil if the server has none now: then only the
// workers answer.
func (r *statusReading) jetStream(ctx context.Context, nc *nats.Conn) jetstream.JetStream {
	err := natsconn.CheckServer(ctx, nc, r.cfg.JetstreamDomain)
	if err == nil {
		js, err := natsconn.JetStream(nc, r.cfg.JetstreamDomain)
		if err == nil {
			return js
		}
	}
	r.unusable = fmt.Errorf("%s: %w", connection(r.cfg, "status").Credential(), err)
	r.report(statusProblem{About: "NATS", Reason: fmt.Sprint(err), Fix: "read the server's log: it stops JetStream if its disk is full or fails"})
	return nil
}

// unavailable reports a part that cannot be read.
func (r *statusReading) unavailable(part string, err error) {
	if p, ok := errors.AsType[*streams.Problem](err); ok {
		r.report(statusProblem{About: "NATS", Reason: p.Reason(), Fix: p.Fix()})
		return
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return // the streams' problems name it
	}
	reason := err.Error()
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		reason = fmt.Sprintf("no answer within %s", partWithin)
	}
	r.mu.Lock()
	if errors.Is(err, natsconn.ErrNoJetStream) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		r.unusable = err
	}
	r.mu.Unlock()
	r.report(statusProblem{About: "status", Reason: "cannot read " + part + ": " + reason, Fix: "check the NATS server and the permissions of this user, and try again"})
}

// set stores the result of read in to, if there is one.
func set(to **uint64, read func() (uint64, error)) error {
	n, err := read()
	if err == nil {
		*to = &n
	}
	return err
}

func (r *statusReading) readWorkers(ctx context.Context, nc *nats.Conn) error {
	workers, err := askWorkers(ctx, nc)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Workers = append(r.status.Workers, workers...)
	return nil
}

// readStreams reads the streams and the lanes' consumers, and checks their settings.
func (r *statusReading) readStreams(ctx context.Context, js jetstream.JetStream) {
	found, unread := streams.Survey(ctx, js, events.Targets()...)
	for _, err := range unread {
		r.unavailable("the streams", noJetStream(err, r.cfg))
	}
	problems := found.Problems(r.cfg.MinResultsAge())
	if len(problems) == 0 && len(unread) == 0 {
		stranded, err := streams.Stranded(ctx, js, events.Targets()...)
		if err != nil {
			r.unavailable("the stranded messages", err)
		}
		problems = stranded
	}
	for _, p := range problems {
		r.report(statusProblem{About: "NATS", Reason: p.Reason(), Fix: p.Fix()})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range []string{events.StreamRequests, events.StreamResults, events.StreamLater, streams.Control} {
		info := found.Streams[name]
		if info == nil {
			continue
		}
		s := streamStatus{Name: name, Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: max(info.Config.MaxBytes, 0)}
		r.status.Streams = append(r.status.Streams, s)
		if name == events.StreamResults {
			r.maxAge = info.Config.MaxAge
		}
	}
	for i := range r.status.Lanes {
		r.status.Lanes[i].count(ctx, js, found)
	}
}

// count sets the numbers of the lane's consumers. A consumer that is missing
// leaves all its messages waiting.
func (l *laneStatus) count(ctx context.Context, js jetstream.JetStream, found *streams.Inspection) {
	var waiting, inFlight uint64
	for _, name := range []string{events.StreamRequests, events.StreamLater} {
		switch info := found.Consumer(name, l.Target); {
		case info != nil:
			waiting += info.NumPending
			inFlight += uint64(max(info.NumAckPending, 0))
		case found.Streams[name] == nil:
			return
		default:
			stored, err := storedMessages(ctx, js, name, waitingSubject(name, l.Target))
			if err != nil {
				return
			}
			waiting += stored
		}
	}
	l.Waiting, l.InFlight = &waiting, &inFlight
}

func (r *statusReading) readDurability(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) error {
	r.mu.Lock()
	embedded := reportedSyncing(r.status.Workers)
	r.mu.Unlock()
	if embedded == nil {
		embedded = embeddedSyncing(r.cfg)
	}
	warnings, _, err := durability(ctx, nc, js, embedded)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Warnings = append(r.status.Warnings, warnings...)
	return err
}
