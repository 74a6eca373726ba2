package bench

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

// Load names what grows in a [Flat] trial. The cost of a request must not grow with it.
type Load string

// The loads of a [Flat] trial.
const (
	Waiting   Load = "requests waiting"
	Elsewhere Load = "requests waiting in the other lane"
	Stored    Load = "results stored"
	Scheduled Load = "schedules waiting"
)

// Flat configures a trial that measures the cost of Count requests beside a load of Size.
type Flat struct {
	Load   Load
	Size   int
	Target events.Target
	Count  int    // measured requests; for [Waiting], the first of the load
	Sync   string // as in [Workload], after loading
}

// FlatMeasure is the result of a [Flat] trial.
type FlatMeasure struct {
	Flat
	First          time.Duration // from the worker's start to its first result
	Elapsed        time.Duration // from the first result to the last measured one
	Worker, Server e2e.Usage     // CPU time since the worker's start
	Status         time.Duration // duration of `lethe status`, half a second of it a wait for workers
	Missing        int           // requests without a result that are not waiting
	Double         int           // requests with two final results
}

// RunFlat loads a server, then starts a worker and measures it, with all files in dir.
func RunFlat(ctx context.Context, f Flat, programs map[e2e.Program]string, dir string) (s FlatMeasure, err error) {
	s.Flat = f
	if err := f.load(ctx, programs, dir); err != nil {
		return s, err
	}
	// A new server process, so that its memory does not include the loading.
	server, err := e2e.NewNATS(programs[e2e.NATSServer], dir, f.Sync)
	if err != nil {
		return s, err
	}
	defer server.Kill()
	js, closeNATS, err := connected(ctx, server)
	if err != nil {
		return s, err
	}
	defer closeNATS()
	api, err := e2e.FreeAddress()
	if err != nil {
		return s, err
	}
	sandbox := &e2e.Process{Name: "sandbox", Path: programs[e2e.Lethe], Log: filepath.Join(dir, "sandbox.log"), Args: []string{"sandbox", "--addr", api}}
	if err := sandbox.Start(); err != nil {
		return s, err
	}
	defer sandbox.Kill()
	if err := e2e.WaitListening(ctx, api); err != nil {
		return s, err
	}
	worker, err := Lethe{programs[e2e.Lethe]}.worker(ctx, &trial{Workload: Workload{Settings: f.settings()}}, server.URL(), "http://"+api)
	if err != nil {
		return s, err
	}
	worker.Log = filepath.Join(dir, "worker.log")
	defer worker.Kill()
	if err := s.measure(ctx, js, server, worker); err != nil {
		return s, fmt.Errorf("%w; the worker's log ends: %s", err, worker.Tail(3))
	}
	return s, nil
}

// connected starts a server and connects to it when it has recovered its streams.
func connected(ctx context.Context, server *e2e.NATS) (jetstream.JetStream, func(), error) {
	if err := server.Start(); err != nil {
		return nil, nil, err
	}
	if err := e2e.WaitListening(ctx, server.Address); err != nil {
		return nil, nil, err
	}
	nc, err := nats.Connect(server.URL())
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000), jetstream.WithDefaultTimeout(time.Minute))
	return js, nc.Close, err
}

// measure starts the worker, reads the usage of worker and server at the last
// measured result, stops the worker, and counts the results of all requests.
func (s *FlatMeasure) measure(ctx context.Context, js jetstream.JetStream, server *e2e.NATS, worker *e2e.Process) error {
	before, err := lastResult(ctx, js)
	if err != nil {
		return err
	}
	ordered, err := js.OrderedConsumer(ctx, events.StreamResults, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: before + 1})
	if err != nil {
		return err
	}
	messages, err := ordered.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	idle, err := server.Usage()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := worker.Start(); err != nil {
		return err
	}
	a := &answers{MessagesContext: messages, seen: map[string]bool{}}
	for len(a.seen) < s.Count {
		if err := a.next(ctx); err != nil {
			return fmt.Errorf("after %d results of %d: %w", len(a.seen), s.Count, err)
		}
	}
	s.First, s.Elapsed = a.first.Sub(start), a.last.Sub(a.first)
	if s.Worker, err = worker.Usage(); err != nil {
		return err
	}
	if s.Server, err = server.Usage(); err != nil {
		return err
	}
	s.Server.CPU -= idle.CPU
	if err := s.checkHeaders(ctx, js, before+1); err != nil {
		return err
	}
	if s.Status, err = status(ctx, worker, server.URL()); err != nil {
		return err
	}
	if err := worker.End(30 * time.Second); err != nil {
		return err
	}

	// The worker has finished its batches; every request has its result or waits.
	end, err := lastResult(ctx, js)
	if err != nil {
		return err
	}
	for a.seq < end {
		if err := a.next(ctx); err != nil {
			return fmt.Errorf("after %d results: %w", len(a.seen), err)
		}
	}
	waiting, err := s.left(ctx, js)
	s.Missing, s.Double = max(0, s.requests()-len(a.seen)-waiting), a.double
	return err
}

// lastResult returns the last sequence of the results stream.
func lastResult(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	stream, err := js.Stream(ctx, events.StreamResults)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// answers counts the final results on a stream as they arrive.
type answers struct {
	jetstream.MessagesContext
	seq         uint64 // of the last message read
	first, last time.Time
	seen        map[string]bool
	double      int
}

// next reads one message. It can be an attempt, which is not counted.
func (a *answers) next(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	msg, err := a.Next(jetstream.NextContext(ctx))
	if err != nil {
		return err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	a.seq = meta.Sequence.Stream
	tokens := strings.Split(msg.Subject(), ".")
	if len(tokens) != 5 || !events.Outcome(tokens[4]).Final() {
		return nil
	}
	if len(a.seen) == 0 {
		a.first = meta.Timestamp
	}
	if a.seen[tokens[3]] {
		a.double++
	}
	a.seen[tokens[3]], a.last = true, meta.Timestamp
	return nil
}

// status measures `lethe status` while the worker runs.
func status(ctx context.Context, worker *e2e.Process, url string) (time.Duration, error) {
	p := &e2e.Process{Name: "status", Path: worker.Path, Args: []string{"status"}, Env: []string{"LETHE_NATS_URL=" + url}, Log: worker.Log}
	start := time.Now()
	if err := p.Start(); err != nil {
		return 0, err
	}
	defer p.Kill()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-p.Done(): // with exit status 1 in trials in which one lane does not run
		return time.Since(start), nil
	}
}

// left returns how many measured requests still wait. It is an error if the worker changed
// the rest of the load.
func (f Flat) left(ctx context.Context, js jetstream.JetStream) (waiting int, err error) {
	requests, err := js.Stream(ctx, events.StreamRequests)
	if err != nil {
		return 0, err
	}
	later, err := js.Stream(ctx, events.StreamLater)
	if err != nil {
		return 0, err
	}
	waiting, scheduled := int(requests.CachedInfo().State.Msgs), int(later.CachedInfo().State.Msgs)
	switch {
	case f.Load == Elsewhere && waiting < f.Size:
		return 0, fmt.Errorf("%d of %d requests are left in the other lane", waiting, f.Size)
	case f.Load == Scheduled && scheduled < f.Size:
		return 0, fmt.Errorf("%d of %d schedules are left", scheduled, f.Size)
	case f.Load == Elsewhere:
		waiting -= f.Size
	}
	return waiting, nil
}

// Compare writes a table of trials of one lane and load, one column for each size.
func Compare(to io.Writer, trials ...FlatMeasure) error {
	if len(trials) == 0 {
		return nil
	}
	_, _ = fmt.Fprintf(to, "%s, %s:\n", trials[0].Load, trials[0].Target) // Flush returns the error

	table := tabwriter.NewWriter(to, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(name string, value func(FlatMeasure) string) {
		cells := []string{name}
		for _, s := range trials {
			cells = append(cells, value(s))
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t")+"\t")
	}
	number := func(name, format string, value func(FlatMeasure) float64) {
		row(name, func(s FlatMeasure) string { return fmt.Sprintf(format, value(s)) })
	}
	each := func(s FlatMeasure) float64 { return 10_000 / float64(s.Count) }
	row("size", func(s FlatMeasure) string { return fmt.Sprint(s.Size) })
	number("requests/s", "%.0f", func(s FlatMeasure) float64 { return float64(s.Count-1) / s.Elapsed.Seconds() })
	number("worker: CPU s/10,000", "%.2f", func(s FlatMeasure) float64 { return s.Worker.CPU.Seconds() * each(s) })
	number("peak MB", "%.1f", func(s FlatMeasure) float64 { return float64(s.Worker.Peak) / (1 << 20) })
	number("start to first result, ms", "%.0f", func(s FlatMeasure) float64 { return float64(s.First.Milliseconds()) })
	number("lethe status, ms", "%.0f", func(s FlatMeasure) float64 { return float64(s.Status.Milliseconds()) })
	number("server: CPU s/10,000", "%.2f", func(s FlatMeasure) float64 { return s.Server.CPU.Seconds() * each(s) })
	number("MB", "%.1f", func(s FlatMeasure) float64 { return float64(s.Server.Resident) / (1 << 20) })
	number("missing", "%.0f", func(s FlatMeasure) float64 { return float64(s.Missing) })
	number("double", "%.0f", func(s FlatMeasure) float64 { return float64(s.Double) })
	return table.Flush()
}
