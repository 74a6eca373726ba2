package chaos

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/streams"
)

// Config says what a [World] is made of.
type Config struct {
	// Dir receives the files of all processes, and outlives the world.
	Dir string
	// Binaries are what e2e.Build gave.
	Binaries map[e2e.Program]string
	// Servers is how many NATS servers there are, 1 or at least 3; with more than
	// one, as many replicas of each stream.
	Servers int
	// Seed decides the luck of the API's calls.
	Seed uint64
	// Troubles are the API's, as flags of lethe sandbox.
	Troubles []string
	// TLS lets workers reach the API over TLS, and so over HTTP/2, through proxies that are
	// cut together with those to NATS. Without it they speak HTTP/1.1 with the API itself.
	TLS bool
}

// World is a set of processes that Lethe works in.
type World struct {
	Config
	Servers []*e2e.NATS
	Workers []*Worker

	api     *e2e.Process
	apiURL  string
	client  *http.Client // trusts the API's certificate
	journal string
	nc      *nats.Conn
	js      jetstream.JetStream

	Redelivered int // consumers that the server made pass over messages

	undisturbed bool // nothing was touched, and the API answers every call

	published []Publication
	progress  atomic.Int64 // len(published), for others
}

// Worker is a lethe run process and its way to NATS, and with TLS to the API.
type Worker struct {
	*e2e.Process
	Links []*e2e.Proxy
}

// ackWait is set on the consumers, so that what a dead worker had in hand comes
// again soon. The least that Lethe takes is 4 s.
const ackWait = 5 * time.Second

// troubles are an API's on an ordinary bad day.
var troubles = []string{
	"--latency", "2ms", "--jitter", "20ms", "--pending-share", "0.05", "--pending-for", "300ms", "--unknown-share", "0.08",
	"--fault", "cut=0.02", "--fault", "cut+after=0.03", "--fault", "503=0.02", "--fault", "503+after=0.02", "--fault", "429=0.01",
	"--fault", "html-200+after=0.01", "--fault", "html-404=0.01", "--fault", "hang=0.003", "--fault", "hang+after=0.003",
	"--fault", "truncated+after=0.01", "--fault", "empty=0.005", "--fault", "cut-body+after=0.01",
}

// Open starts a world without workers.
func Open(ctx context.Context, c Config) (w *World, err error) {
	w = &World{Config: c, journal: filepath.Join(c.Dir, "journal.ndjson")}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err = w.openNATS(ctx); err != nil {
		return w, err
	}
	if err = w.openAPI(ctx); err != nil {
		return w, err
	}
	if err = w.setup(ctx); err != nil {
		return w, err
	}
	return w, nil
}

func (w *World) openNATS(ctx context.Context) error {
	var err error
	if w.Config.Servers > 1 {
		w.Servers, err = e2e.NewCluster(w.Binaries[e2e.NATSServer], w.Dir, w.Config.Servers)
	} else {
		w.Servers = make([]*e2e.NATS, 1)
		w.Servers[0], err = e2e.NewNATS(w.Binaries[e2e.NATSServer], w.Dir, e2e.SyncAlways)
	}
	if err != nil {
		return err
	}
	var urls []string
	for _, s := range w.Servers {
		if err := s.Start(); err != nil {
			return err
		}
		urls = append(urls, s.URL())
	}
	for _, s := range w.Servers {
		if err := e2e.Listening(ctx, s.Address); err != nil {
			return err
		}
	}
	w.nc, err = nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1), nats.Name("chaos"))
	if err != nil {
		return err
	}
	w.js, err = jetstream.New(w.nc)
	return err
}

func (w *World) openAPI(ctx context.Context) error {
	address, err := e2e.FreeAddress()
	if err != nil {
		return err
	}
	w.apiURL, w.client = "http://"+address, &http.Client{Transport: &http.Transport{}}
	w.api = &e2e.Process{
		Name: "sandbox", Path: w.Binaries[e2e.Lethe], Log: filepath.Join(w.Dir, "sandbox.log"),
		Args: append([]string{"sandbox", "--addr", address, "--journal", w.journal, "--seed", fmt.Sprint(w.Seed)}, w.Troubles...),
	}
	if w.TLS {
		w.apiURL = "https://" + address
		w.api.Args = append(w.api.Args, "--tls", w.certificate())
	}
	if err := w.api.Start(); err != nil {
		return err
	}
	if err := e2e.Listening(ctx, address); err != nil || !w.TLS {
		return err
	}
	text, err := os.ReadFile(w.certificate())
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	w.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return nil
}

// certificate is the file with the API's certificate.
func (w *World) certificate() string { return filepath.Join(w.Dir, "api.pem") }

// setup makes the streams as an operator would: again, where the servers are not
// ready yet.
func (w *World) setup(ctx context.Context) error {
	for {
		err := w.trySetup(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *World) trySetup(ctx context.Context) error {
	command := exec.CommandContext(ctx, w.Binaries[e2e.Lethe], "setup")
	command.Env = []string{"LETHE_NATS_URL=" + w.Servers[0].URL(), fmt.Sprintf("LETHE_STREAM_REPLICAS=%d", len(w.Servers))}
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("lethe setup: %w: %s", err, out)
	}
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		for _, target := range events.Targets() {
			lane, err := w.js.Consumer(ctx, stream, string(target))
			if err != nil {
				return err
			}
			config := lane.CachedInfo().Config
			config.AckWait = ackWait
			if _, err := w.js.UpdateConsumer(ctx, stream, config); err != nil {
				return err
			}
		}
	}
	return nil
}

// NewWorker starts a worker with settings such as LETHE_KV_RATE=10.
func (w *World) NewWorker(program e2e.Program, settings ...string) (*Worker, error) {
	name := fmt.Sprintf("w%d", len(w.Workers)+1)
	worker := &Worker{Process: &e2e.Process{Name: name, Path: w.Binaries[program], Args: []string{"run"}, Log: filepath.Join(w.Dir, name+".log")}}
	var urls []string
	for _, s := range w.Servers {
		proxy, err := e2e.NewProxy(s.Address)
		if err != nil {
			return nil, err
		}
		worker.Links = append(worker.Links, proxy)
		urls = append(urls, "nats://"+proxy.Address())
	}
	api := w.apiURL
	if w.TLS {
		proxy, err := e2e.NewProxy(strings.TrimPrefix(w.apiURL, "https://"))
		if err != nil {
			return nil, err
		}
		worker.Links = append(worker.Links, proxy)
		api = "https://" + proxy.Address()
		settings = append([]string{"SSL_CERT_FILE=" + w.certificate()}, settings...)
	}
	worker.Env = append([]string{
		"LETHE_NATS_URL=" + strings.Join(urls, ","), "LETHE_MANAGE_STREAMS=false", "LETHE_ADMIN_ADDR=127.0.0.1:0", "LETHE_LOG_LEVEL=debug",
		"LETHE_KV_BASE_URL=" + api, "LETHE_KV_ACCESS_KEY=sandbox-access-key",
		"LETHE_SENSAY_BASE_URL=" + api, "LETHE_SENSAY_ORGANIZATION_SECRET=sandbox-organization-secret",
		"LETHE_KV_TIMEOUT=2s", "LETHE_SENSAY_TIMEOUT=2s", "LETHE_KV_CONCURRENCY=16", "LETHE_SENSAY_CONCURRENCY=16",
		"LETHE_RETRY_INITIAL_INTERVAL=50ms", "LETHE_RETRY_MAX_INTERVAL=1s", "LETHE_CONFIRM_AFTER=500ms", "LETHE_SHUTDOWN_GRACE=3s",
	}, settings...)
	w.Workers = append(w.Workers, worker)
	return worker, worker.Start()
}

// Publish publishes events, evenly over some time, and goes on until each is
// stored, whatever happens to the servers.
func (w *World) Publish(ctx context.Context, messages []Message, over time.Duration) error {
	start := time.Now()
	for i, m := range messages {
		timer := time.NewTimer(time.Until(start.Add(over * time.Duration(i) / time.Duration(len(messages)))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		p := m.Publication
		for {
			// The id of this one publication, so that a publish that is tried again
			// is not stored twice while the server remembers it.
			msg := &nats.Msg{Subject: events.RequestSubject(m.Target), Data: m.Body, Header: nats.Header{jetstream.MsgIDHeader: {fmt.Sprintf("%d-%d", start.UnixNano(), i)}}}
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			ack, err := w.js.PublishMsg(try, msg, jetstream.WithRetryAttempts(0))
			cancel()
			if err == nil {
				p.Sequence = ack.Sequence
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("publish: %w", err)
			}
			p.Twice = true
			time.Sleep(20 * time.Millisecond)
		}
		w.published = append(w.published, p)
		w.progress.Add(1)
	}
	return nil
}

// Counts are how many messages the streams hold.
func (w *World) Counts(ctx context.Context) (counts map[string]uint64, err error) {
	counts = map[string]uint64{}
	for _, name := range []string{events.StreamRequests, events.StreamLater, events.StreamResults} {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		stream, err := w.js.Stream(try, name)
		cancel()
		if err != nil {
			return nil, err
		}
		counts[name] = stream.CachedInfo().State.Msgs
	}
	return counts, nil
}

// again asks the servers until they answer: they may be choosing leaders, and what
// is asked meanwhile may be lost.
func again[T any](ctx context.Context, ask func(context.Context) (T, error)) (answer T, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	policy := backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx)
	if ended := backoff.Retry(func() error {
		try, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		answer, err = ask(try)
		return err
	}, policy); ended != nil {
		return answer, errors.Join(ended, err)
	}
	return answer, nil
}

// Drain waits until nothing waits in the queues any more, or until nothing has
// moved for patience. What the server passes over is delivered again, as `lethe
// setup` does it.
func (w *World) Drain(ctx context.Context, patience time.Duration) error {
	var before string
	var redelivered error
	for moved := time.Now(); ; {
		counts, err := w.Counts(ctx)
		switch now := fmt.Sprint(counts); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && counts[events.StreamRequests] == 0 && counts[events.StreamLater] == 0:
			return nil
		case err == nil && now != before:
			before, moved = now, time.Now()
		case time.Since(moved) > patience:
			return fmt.Errorf("nothing has moved for %s: %w", patience, errors.Join(err, redelivered, errors.New(before)))
		case err == nil && time.Since(moved) > patience/4:
			var passed []*streams.Problem
			if passed, redelivered = streams.Stranded(ctx, w.js, events.Targets()...); redelivered == nil {
				redelivered = streams.Redeliver(ctx, w.js, passed)
			}
			if redelivered == nil && len(passed) > 0 {
				w.Redelivered += len(passed)
				moved = time.Now()
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Finish ends all workers, as an operator would, lets one more work on what they
// stored last, and reads what is left. A worker that does not end in time is an
// error.
func (w *World) Finish(ctx context.Context) (r Record, err error) {
	if err := w.endWorkers(); err != nil {
		return r, err
	}
	counts, err := again(ctx, w.Counts)
	if err != nil {
		return r, err
	}
	if counts[events.StreamRequests]+counts[events.StreamLater] > 0 {
		// A worker that was woken late may have scheduled what is answered already.
		if _, err := w.NewWorker(e2e.Lethe); err != nil {
			return r, err
		}
		_ = w.Drain(ctx, time.Minute) // what is left then is in the record
		if err := w.endWorkers(); err != nil {
			return r, err
		}
	}
	r.Published, r.Undisturbed = w.published, w.undisturbed
	if r.Links, err = again(ctx, w.links); err != nil {
		return r, err
	}
	if r.Left, err = again(ctx, w.left); err != nil {
		return r, err
	}
	r.Calls, err = readJournal(w.journal)
	return r, err
}

func (w *World) endWorkers() (err error) {
	for _, worker := range w.Workers {
		if worker.Running() {
			err = errors.Join(err, worker.End(30*time.Second))
		}
	}
	return err
}

// Close kills what runs.
func (w *World) Close() {
	for _, worker := range w.Workers {
		worker.Kill()
		for _, l := range worker.Links {
			l.Close()
		}
	}
	if w.nc != nil {
		w.nc.Close()
	}
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
	if w.api != nil {
		w.api.Kill()
	}
	for _, s := range w.Servers {
		if s == nil {
			continue
		}
		s.Kill()
		for _, r := range s.Routes {
			r.Close()
		}
	}
}

// fell waits until the worker has died or stopped of itself. After patience it
// says that it did not.
func (w *Worker) fell(ctx context.Context, patience time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if !w.Running() {
			return true, nil
		}
		if stopped, err := w.Stopped(); stopped || err != nil {
			return stopped, err
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// steer sends a command to the sandbox's control endpoint.
func (w *World) steer(ctx context.Context, method, path, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, w.apiURL+"/_sandbox/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return nil
}
