package bench

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

// Contender is a program that processes the requests of a trial.
type Contender interface {
	// Name is its name in the table.
	Name() string
	// worker returns its process, not started. The trial's streams exist already.
	worker(ctx context.Context, t *trial, server, api string) (*e2e.Process, error)
}

// Lethe is the worker of this module, built at Path.
type Lethe struct{ Path string }

// Name is "lethe".
func (Lethe) Name() string { return "lethe" }

func (l Lethe) worker(_ context.Context, t *trial, server, api string) (*e2e.Process, error) {
	return &e2e.Process{
		Name: l.Name(), Path: l.Path, Args: []string{"run"},
		Env: append([]string{
			"LETHE_NATS_URL=" + server, "LETHE_ADMIN_ADDR=127.0.0.1:0", "LETHE_LOG_LEVEL=warn",
			"LETHE_KV_BASE_URL=" + api, "LETHE_KV_ACCESS_KEY=sandbox-access-key",
			"LETHE_SENSAY_BASE_URL=" + api, "LETHE_SENSAY_ORGANIZATION_SECRET=sandbox-organization-secret",
		}, t.Settings...),
	}, nil
}

// Bento is https://github.com/warpstreamlabs/bento, a general stream processor. The
// folder bento holds pipelines that do the same work.
type Bento struct {
	Path string
	// Threads is how many messages or batches its pipeline processes at the same time.
	Threads int
}

//go:embed bento
var pipelines embed.FS

// FindBento returns the bento in PATH, if there is one.
func FindBento() (b Bento, found bool) {
	path, err := exec.LookPath("bento")
	return Bento{Path: path, Threads: 64}, err == nil
}

// Name is "bento".
func (Bento) Name() string { return "bento" }

func (b Bento) worker(ctx context.Context, t *trial, server, api string) (*e2e.Process, error) {
	file := map[events.Target]string{events.KVUserContext: "kv.yaml", events.SensayKnowledgeBase: "sensay.yaml"}[t.Target]
	pipeline, err := pipelines.ReadFile("bento/" + file)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(t.dir, file)
	if err := os.WriteFile(path, pipeline, 0o600); err != nil {
		return nil, err
	}
	// Bento is many times faster with a push consumer than with a pull consumer. A work
	// queue allows one consumer for each subject, so the lane's is deleted.
	if err := t.js.DeleteConsumer(ctx, events.StreamRequests, string(t.Target)); err != nil {
		return nil, err
	}
	if _, err := t.js.CreateOrUpdatePushConsumer(ctx, events.StreamRequests, jetstream.ConsumerConfig{
		Durable: "bento", FilterSubject: events.RequestSubject(t.Target), AckPolicy: jetstream.AckExplicitPolicy,
		DeliverSubject: "bento.requests", MaxDeliver: -1, MaxAckPending: 4096,
	}); err != nil {
		return nil, err
	}
	return &e2e.Process{
		Name: b.Name(), Path: b.Path, Args: []string{"--config", path},
		Env: []string{"BENCH_NATS_URL=" + server, "BENCH_API_URL=" + api, fmt.Sprint("BENCH_THREADS=", b.Threads)},
	}, nil
}
