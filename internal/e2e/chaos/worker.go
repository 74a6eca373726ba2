package chaos

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/internal/e2e"
)

// Worker is a `lethe run` process with its proxies: to each NATS server and, with TLS, to the API.
type Worker struct {
	*e2e.Process
	Proxies []*e2e.Proxy
}

// NewWorker starts a worker with environment variables such as LETHE_KV_RATE=10.
func (env *Environment) NewWorker(program e2e.Program, settings ...string) (*Worker, error) {
	name := fmt.Sprintf("w%d", len(env.Workers)+1)
	worker := &Worker{Process: &e2e.Process{Name: name, Path: env.Binaries[program], Args: []string{"run"}, Log: filepath.Join(env.Dir, name+".log")}}
	var urls []string
	for _, s := range env.Servers {
		proxy, err := e2e.NewProxy(s.Address)
		if err != nil {
			return nil, err
		}
		worker.Proxies = append(worker.Proxies, proxy)
		urls = append(urls, "nats://"+proxy.Address())
	}
	api := env.apiURL
	if env.TLS {
		proxy, err := e2e.NewProxy(strings.TrimPrefix(env.apiURL, "https://"))
		if err != nil {
			return nil, err
		}
		worker.Proxies = append(worker.Proxies, proxy)
		api = "https://" + proxy.Address()
		settings = append([]string{"SSL_CERT_FILE=" + env.certificate()}, settings...)
	}
	worker.Env = append([]string{
		"LETHE_NATS_URL=" + strings.Join(urls, ","), "LETHE_MANAGE_STREAMS=false", "LETHE_ADMIN_ADDR=127.0.0.1:0", "LETHE_LOG_LEVEL=debug",
		"LETHE_KV_BASE_URL=" + api, "LETHE_KV_ACCESS_KEY=sandbox-access-key",
		"LETHE_SENSAY_BASE_URL=" + api, "LETHE_SENSAY_ORGANIZATION_SECRET=sandbox-organization-secret",
		"LETHE_KV_TIMEOUT=2s", "LETHE_SENSAY_TIMEOUT=2s", "LETHE_KV_CONCURRENCY=16", "LETHE_SENSAY_CONCURRENCY=16",
		"LETHE_RETRY_INITIAL_INTERVAL=50ms", "LETHE_RETRY_MAX_INTERVAL=1s", "LETHE_CONFIRM_AFTER=500ms", "LETHE_SHUTDOWN_GRACE=3s",
	}, settings...)
	env.Workers = append(env.Workers, worker)
	return worker, worker.Start()
}

// waitDownOrStopped waits until the worker has exited or was stopped by SIGSTOP. It
// returns false if that takes longer than timeout.
func (w *Worker) waitDownOrStopped(ctx context.Context, timeout time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
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
