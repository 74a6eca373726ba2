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

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

// Config configures an [Environment].
type Config struct {
	// Dir holds the files of all processes. Close keeps it.
	Dir string
	// Binaries are the paths from [e2e.Build].
	Binaries map[e2e.Program]string
	// Servers is the number of NATS servers, 1 or at least 3, and of replicas of
	// each stream.
	Servers int
	// Seed is the random seed of the API's faults.
	Seed uint64
	// APIFaults are flags of lethe sandbox.
	APIFaults []string
	// TLS connects workers to the API over TLS and HTTP/2, through proxies that faults cut
	// together with those to NATS. Without it they use HTTP/1.1 without a proxy.
	TLS bool
}

// Environment is the set of processes of a trial.
type Environment struct {
	Config
	Servers []*e2e.NATS
	Workers []*Worker

	api     *e2e.Process
	apiURL  string
	client  *http.Client // trusts the API's certificate
	journal string
	nc      *nats.Conn
	js      jetstream.JetStream

	Recreated int // consumers recreated because of stranded messages

	undisturbed bool // no faults are injected, and the API answers every call

	pauses []Pause // of lanes, that have ended

	published []Publication
	progress  atomic.Int64 // len(published), safe for other goroutines
}

// ackWait is short so that a dead worker's messages are redelivered soon. Lethe
// accepts 4 s or more.
const ackWait = 5 * time.Second

// usualFaults are faults of an API in a bad state.
var usualFaults = []string{
	"--latency", "2ms", "--jitter", "20ms", "--pending-share", "0.05", "--pending-for", "300ms", "--unknown-share", "0.08",
	"--fault", "cut=0.02", "--fault", "cut+after=0.03", "--fault", "503=0.02", "--fault", "503+after=0.02", "--fault", "429=0.01",
	"--fault", "html-200+after=0.01", "--fault", "html-404=0.01", "--fault", "hang=0.003", "--fault", "hang+after=0.003",
	"--fault", "truncated+after=0.01", "--fault", "empty=0.005", "--fault", "cut-body+after=0.01",
}

// Open starts an environment without workers.
func Open(ctx context.Context, c Config) (env *Environment, err error) {
	env = &Environment{Config: c, journal: filepath.Join(c.Dir, "journal.ndjson")}
	defer func() {
		if err != nil {
			env.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err = env.openNATS(ctx); err != nil {
		return env, err
	}
	if err = env.openAPI(ctx); err != nil {
		return env, err
	}
	if err = env.setup(ctx); err != nil {
		return env, err
	}
	return env, nil
}

func (env *Environment) openNATS(ctx context.Context) error {
	var err error
	if env.Config.Servers > 1 {
		env.Servers, err = e2e.NewCluster(env.Binaries[e2e.NATSServer], env.Dir, env.Config.Servers)
	} else {
		env.Servers = make([]*e2e.NATS, 1)
		env.Servers[0], err = e2e.NewNATS(env.Binaries[e2e.NATSServer], env.Dir, e2e.SyncAlways)
	}
	if err != nil {
		return err
	}
	var urls []string
	for _, s := range env.Servers {
		if err := s.Start(); err != nil {
			return err
		}
		urls = append(urls, s.URL())
	}
	for _, s := range env.Servers {
		if err := e2e.WaitListening(ctx, s.Address); err != nil {
			return err
		}
	}
	env.nc, err = nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1), nats.Name("chaos"))
	if err != nil {
		return err
	}
	env.js, err = jetstream.New(env.nc)
	return err
}

func (env *Environment) openAPI(ctx context.Context) error {
	address, err := e2e.FreeAddress()
	if err != nil {
		return err
	}
	env.apiURL, env.client = "http://"+address, &http.Client{Transport: &http.Transport{}}
	env.api = &e2e.Process{
		Name: "sandbox", Path: env.Binaries[e2e.Lethe], Log: filepath.Join(env.Dir, "sandbox.log"),
		Args: append([]string{"sandbox", "--addr", address, "--journal", env.journal, "--seed", fmt.Sprint(env.Seed)}, env.APIFaults...),
	}
	if env.TLS {
		env.apiURL = "https://" + address
		env.api.Args = append(env.api.Args, "--tls", env.certificate())
	}
	if err := env.api.Start(); err != nil {
		return err
	}
	if err := e2e.WaitListening(ctx, address); err != nil || !env.TLS {
		return err
	}
	text, err := os.ReadFile(env.certificate())
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	env.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return nil
}

// certificate is the path of the API's certificate.
func (env *Environment) certificate() string { return filepath.Join(env.Dir, "api.pem") }

// setup runs `lethe setup`, repeatedly until the servers are ready.
func (env *Environment) setup(ctx context.Context) error {
	for {
		err := env.trySetup(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (env *Environment) trySetup(ctx context.Context) error {
	command := exec.CommandContext(ctx, env.Binaries[e2e.Lethe], "setup")
	command.Env = []string{"LETHE_NATS_URL=" + env.Servers[0].URL(), fmt.Sprintf("LETHE_STREAM_REPLICAS=%d", len(env.Servers))}
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("lethe setup: %w: %s", err, out)
	}
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		for _, target := range events.Targets() {
			lane, err := env.js.Consumer(ctx, stream, string(target))
			if err != nil {
				return err
			}
			config := lane.CachedInfo().Config
			config.AckWait = ackWait
			if _, err := env.js.UpdateConsumer(ctx, stream, config); err != nil {
				return err
			}
		}
	}
	return nil
}

// Finish stops all workers with SIGTERM, runs one more if they left scheduled
// requests, and reads the observations. A worker that does not exit in time is an
// error.
func (env *Environment) Finish(ctx context.Context) (r Observations, err error) {
	if err := env.endWorkers(); err != nil {
		return r, err
	}
	counts, err := retry(ctx, env.Counts)
	if err != nil {
		return r, err
	}
	if counts[events.StreamRequests]+counts[events.StreamLater] > 0 {
		// A worker that resumed late may have scheduled a request that has its result.
		if _, err := env.NewWorker(e2e.Lethe); err != nil {
			return r, err
		}
		_ = env.Drain(ctx, time.Minute) // the observations name the remaining messages
		if err := env.endWorkers(); err != nil {
			return r, err
		}
	}
	r.Published, r.Undisturbed, r.Pauses = env.published, env.undisturbed, env.pauses
	if r.Records, err = retry(ctx, env.records); err != nil {
		return r, err
	}
	if r.Left, err = retry(ctx, env.left); err != nil {
		return r, err
	}
	r.Calls, err = readJournal(env.journal)
	return r, err
}

func (env *Environment) endWorkers() (err error) {
	for _, worker := range env.Workers {
		if worker.Running() {
			err = errors.Join(err, worker.End(30*time.Second))
		}
	}
	return err
}

// Close kills all processes.
func (env *Environment) Close() {
	for _, worker := range env.Workers {
		worker.Kill()
		for _, p := range worker.Proxies {
			p.Close()
		}
	}
	if env.nc != nil {
		env.nc.Close()
	}
	if env.client != nil {
		env.client.CloseIdleConnections()
	}
	if env.api != nil {
		env.api.Kill()
	}
	for _, s := range env.Servers {
		if s == nil {
			continue
		}
		s.Kill()
		for _, r := range s.Routes {
			r.Close()
		}
	}
}

// admin sends a command to the fake APIs' admin API.
func (env *Environment) admin(ctx context.Context, method, path, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, env.apiURL+"/_sandbox/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	response, err := env.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return nil
}
