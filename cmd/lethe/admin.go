package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/internal/backlog"
	"github.com/lethe-dev/lethe/internal/page"
	"github.com/lethe-dev/lethe/internal/streams"
	"github.com/lethe-dev/lethe/internal/telemetry"
)

// admin serves the operator's page, /healthz, /readyz and /metrics. It answers before the worker is
// connected, so that a probe can distinguish a waiting worker from a dead one.
type admin struct {
	instance string
	metrics  http.Handler
	url      string
	stopping <-chan struct{} // closed when the worker stops
	worker   atomic.Pointer[watched]
}

// watched contains what readiness checks once the worker is connected.
type watched struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	lanes   *lanes
	backlog *backlog.Poller
}

// readiness is the body of /readyz.
type readiness struct {
	Ready    bool             `json:"ready"`
	Reason   string           `json:"reason,omitempty"` // why it is not ready
	Instance string           `json:"instance"`
	Lanes    []consumer.State `json:"lanes,omitempty"`
}

func newAdmin(instance string, metrics http.Handler, stopping <-chan struct{}) *admin {
	return &admin{instance: instance, metrics: metrics, stopping: stopping}
}

func (a *admin) watch(nc *nats.Conn, js jetstream.JetStream, l *lanes, b *backlog.Poller) {
	a.worker.Store(&watched{nc, js, l, b})
}

// serve listens on addr until stop is called. The operator's page is served on loopback,
// and anywhere if that is true.
func (a *admin) serve(ctx context.Context, addr string, anywhere bool, log *slog.Logger) (stop func(), err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	a.url = "http://" + listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.serveReady)
	operators := page.New(pageSource{a}, page.Access{Anywhere: anywhere, Setting: "LETHE_ADMIN_PAGE", Log: log})
	operators.Register(mux)
	go operators.Record(ctx)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() { _ = server.Serve(listener) }() // ends with Shutdown
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	}, nil
}

func (a *admin) serveReady(w http.ResponseWriter, r *http.Request) {
	answer := a.ready(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // the client may have disconnected
}

// ready reports whether this worker can work: it is connected, the streams exist and
// are safe, and it is not stopping. The state of a lane does not count: a restart
// does not fix an API, a credential, or a lane that a person paused.
func (a *admin) ready(ctx context.Context) readiness {
	answer := readiness{Instance: a.instance}
	worker := a.worker.Load()
	if worker != nil {
		answer.Lanes = worker.lanes.states()
	}
	answer.Reason = a.notReady(ctx, worker)
	answer.Ready = answer.Reason == ""
	return answer
}

// notReady returns why the worker is not ready, "" if it is. worker is nil until it is
// connected.
func (a *admin) notReady(ctx context.Context, worker *watched) string {
	if reason := a.away(worker); reason != "" {
		return reason
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := streams.Check(ctx, worker.js, worker.lanes.configs[0].ResultsMinAge, worker.lanes.served()...); err != nil {
		return err.Error()
	}
	return ""
}

// away returns why the worker cannot work, "" if it can, as far as is known without a
// request to the server.
func (a *admin) away(worker *watched) string {
	select {
	case <-a.stopping:
		return "the worker is stopping"
	default:
	}
	switch {
	case worker == nil:
		return "still waiting for NATS and its streams"
	case !worker.nc.IsConnected():
		return errNotConnected.Error()
	}
	return ""
}

// flushTimeout limits how long telemetry may take to send what is queued.
const flushTimeout = 5 * time.Second

// flush sends queued telemetry.
func flush(ctx context.Context, tel *telemetry.Telemetry) { flushWithin(ctx, tel, flushTimeout) }

// flushWithin sends queued telemetry within a timeout, even if ctx has ended.
func flushWithin(ctx context.Context, tel *telemetry.Telemetry, within time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	if err := tel.Shutdown(ctx); err != nil {
		tel.Logger.Info("telemetry lost", "error", err) // the exporter has warned
	}
}
