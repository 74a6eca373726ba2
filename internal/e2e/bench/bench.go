// Package bench measures Lethe's throughput and cost with a backlog. nats-server, the
// fake APIs and the worker run as separate processes, as in production.
//
// Compare its numbers only within one run on one machine.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/streams"
)

// Workload configures a trial.
type Workload struct {
	Name   string
	Target events.Target
	Count  int
	// Rate is how many requests a second are published; 0 publishes all before the
	// worker starts.
	Rate int
	// Sync is the server's sync_interval: [e2e.SyncAlways], or a duration.
	Sync string
	// API holds flags of lethe sandbox, Settings the worker's environment variables.
	API, Settings []string
}

// Measure is the result of a trial.
type Measure struct {
	Workload
	By       string        // the contender
	Elapsed  time.Duration // from the worker's start, or the first publish, to the last result
	Calls    int           // calls that reached the API
	TooMany  int           // calls answered 429
	CPU      time.Duration // the worker's CPU time
	Peak     int64         // the worker's highest resident memory, bytes
	P50, P99 time.Duration // from publish to result
	Missing  int           // requests without a final result
	Double   int           // final results after the first of a request
}

// Header names the columns of [Measure.Row].
const Header = "workload                         by     requests/s  calls/100   429s  CPU s/10,000   peak MB   p50 ms   p99 ms  missing  double"

// Row is one line of the table.
func (m Measure) Row() string {
	count := float64(m.Count)
	return fmt.Sprintf("%-32s %-6s %10.0f %10.1f %6d %13.2f %9.1f %8.1f %8.1f %8d %7d",
		m.Name, m.By, count/m.Elapsed.Seconds(), float64(m.Calls)/count*100, m.TooMany, m.CPU.Seconds()/count*10_000, float64(m.Peak)/(1<<20),
		float64(m.P50.Microseconds())/1000, float64(m.P99.Microseconds())/1000, m.Missing, m.Double)
}

// Ratio is a line that compares m with another contender's result for the same workload.
func (m Measure) Ratio(other Measure) string {
	return fmt.Sprintf("%-32s %s ÷ %s: requests/s %.2f, CPU %.2f, peak memory %.2f, p99 %.2f", m.Name, m.By, other.By,
		other.Elapsed.Seconds()/m.Elapsed.Seconds(), m.CPU.Seconds()/other.CPU.Seconds(), float64(m.Peak)/float64(other.Peak), m.P99.Seconds()/other.P99.Seconds())
}

// trial is a system under load.
type trial struct {
	Workload
	js        jetstream.JetStream
	dir       string
	published map[string]time.Time
}

// Run measures a contender on a workload, with its files in dir.
func Run(ctx context.Context, c Contender, w Workload, programs map[e2e.Program]string, dir string) (m Measure, err error) {
	server, err := e2e.NewNATS(programs[e2e.NATSServer], dir, w.Sync)
	if err != nil {
		return m, err
	}
	api, err := e2e.FreeAddress()
	if err != nil {
		return m, err
	}
	sandbox := &e2e.Process{
		Name: "sandbox", Path: programs[e2e.Lethe], Log: filepath.Join(dir, "sandbox.log"), Args: append([]string{"sandbox", "--addr", api}, w.API...),
	}
	for _, p := range []*e2e.Process{server.Process, sandbox} {
		if err := p.Start(); err != nil {
			return m, err
		}
		defer p.Kill()
	}
	for _, address := range []string{server.Address, api} {
		if err := e2e.WaitListening(ctx, address); err != nil {
			return m, err
		}
	}
	nc, err := nats.Connect(server.URL())
	if err != nil {
		return m, err
	}
	defer nc.Close()
	t := &trial{Workload: w, dir: dir, published: make(map[string]time.Time, w.Count)}
	if t.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000)); err != nil {
		return m, err
	}
	if err := streams.Setup(ctx, t.js, streams.Settings{ResultsMaxAge: 720 * time.Hour, Replicas: 1}); err != nil {
		return m, err
	}
	worker, err := c.worker(ctx, t, server.URL(), "http://"+api)
	if err != nil {
		return m, err
	}
	worker.Log = filepath.Join(dir, "worker.log")
	start := func() (at time.Time, err error) {
		if err := worker.Start(); err != nil {
			return at, err
		}
		return t.processing(ctx)
	}
	defer worker.Kill()
	var begun, last time.Time
	if w.Rate > 0 {
		if _, err := start(); err != nil {
			return m, err
		}
		begun = time.Now()
	}
	if err := t.publish(ctx); err != nil {
		return m, err
	}
	if w.Rate == 0 {
		if begun, err = start(); err != nil {
			return m, err
		}
	}
	if err = t.done(ctx); err == nil {
		last, err = t.results(ctx, &m)
	}
	if err != nil {
		return m, fmt.Errorf("%w; the worker's log ends: %s", err, worker.Tail(3))
	}
	m.Workload, m.By, m.Elapsed = w, c.Name(), last.Sub(begun)
	used, err := worker.Usage()
	if err != nil {
		return m, err
	}
	m.CPU, m.Peak = used.CPU, used.Peak
	if err := worker.End(30 * time.Second); err != nil {
		return m, err
	}
	return m, t.stats(ctx, api, &m)
}

func (t *trial) request(i int) events.Request {
	if t.Target == events.KVUserContext {
		return events.NewRequest("/bench", events.UserContexts{IDs: []int64{int64(i) + 1}})
	}
	return events.NewRequest("/bench", events.KnowledgeBaseEntry{
		ReplicaUUID: uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"), KnowledgeBaseID: int64(i) + 1,
	})
}

func (t *trial) publish(ctx context.Context) error {
	begun := time.Now()
	for i := range t.Count {
		if t.Rate > 0 {
			timer := time.NewTimer(time.Until(begun.Add(time.Duration(i) * time.Second / time.Duration(t.Rate))))
			select {
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			case <-timer.C:
			}
		}
		r := t.request(i)
		body, err := r.Encode()
		if err != nil {
			return err
		}
		t.published[r.ID] = time.Now()
		if _, err := t.js.PublishAsync(events.RequestSubject(t.Target), body, jetstream.WithMsgID(r.ID), jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.js.PublishAsyncComplete():
		return nil
	}
}

// processing waits until the worker receives requests, and returns when that began. The
// time that a program needs to start is not part of a measurement.
func (t *trial) processing(ctx context.Context) (at time.Time, err error) {
	stream, err := t.js.Stream(ctx, events.StreamRequests)
	if err != nil {
		return at, err
	}
	for {
		consumers := stream.ListConsumers(ctx)
		for info := range consumers.Info() {
			receives := info.PushBound || info.NumWaiting > 0 || info.Delivered.Consumer > 0
			if receives && info.Config.FilterSubject == events.RequestSubject(t.Target) {
				at = time.Now()
			}
		}
		if err := consumers.Err(); err != nil || !at.IsZero() {
			return at, err
		}
		select {
		case <-ctx.Done():
			return at, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// patience is how long a trial may make no progress before it fails.
const patience = time.Minute

// done waits until both queues are empty. Reading results during the trial would
// take CPU time from the worker and the server.
func (t *trial) done(ctx context.Context) error {
	left, since := uint64(math.MaxUint64), time.Now()
	for left > 0 {
		var now uint64
		for _, name := range []string{events.StreamRequests, events.StreamLater} {
			stream, err := t.js.Stream(ctx, name)
			if err != nil {
				return err
			}
			now += stream.CachedInfo().State.Msgs
		}
		if now != left {
			left, since = now, time.Now()
		}
		if time.Since(since) > patience {
			return fmt.Errorf("no progress for %s: %d requests are left", patience, left)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// results reads all results and returns when the last one was stored.
func (t *trial) results(ctx context.Context, m *Measure) (last time.Time, err error) {
	ordered, err := t.js.OrderedConsumer(ctx, events.StreamResults, jetstream.OrderedConsumerConfig{FilterSubjects: []string{events.ResultFilter(t.Target, "", "")}})
	if err != nil {
		return last, err
	}
	info, err := ordered.Info(ctx)
	if err != nil {
		return last, err
	}
	messages, err := ordered.Messages()
	if err != nil {
		return last, err
	}
	defer messages.Stop()
	var waits []time.Duration
	seen := make(map[string]bool, t.Count)
	for range info.NumPending {
		next, cancel := context.WithTimeout(ctx, patience)
		msg, err := messages.Next(jetstream.NextContext(next))
		cancel()
		if err != nil {
			return last, fmt.Errorf("read results: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return last, err
		}
		r, err := events.ReadResult(msg.Headers(), msg.Data())
		if err != nil {
			return last, err
		}
		if !r.Outcome.Final() {
			continue
		}
		if seen[r.RequestID] {
			m.Double++
		}
		seen[r.RequestID] = true
		last = meta.Timestamp
		waits = append(waits, meta.Timestamp.Sub(t.published[r.RequestID]))
	}
	m.Missing = t.Count - len(seen)
	if len(waits) == 0 {
		return last, errors.New("no results")
	}
	slices.Sort(waits)
	m.P50, m.P99 = waits[len(waits)/2], waits[len(waits)*99/100]
	return last, nil
}

// stats reads the fake APIs' counts.
func (t *trial) stats(ctx context.Context, api string, m *Measure) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+api+"/_sandbox/stats", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	var stats map[string]struct {
		Calls    int            `json:"calls"`
		Statuses map[string]int `json:"statuses"`
	}
	if err := json.NewDecoder(response.Body).Decode(&stats); err != nil {
		return err
	}
	for _, s := range stats {
		m.Calls += s.Calls
		m.TooMany += s.Statuses["429"]
	}
	return nil
}
