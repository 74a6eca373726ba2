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
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
	"github.com/lethe-dev/lethe/internal/telemetry"
)

// admin serves /healthz, /readyz and /metrics. It answers before the worker is
// connected, so that a waiting worker differs from a dead one.
type admin struct {
	instance string
	metrics  http.Handler
	url      string
	worker   atomic.Pointer[watched]
}

// watched holds what readiness checks once the worker is connected.
type watched struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	lanes *lanes
}

// readiness is the body of /readyz.
type readiness struct {
	Ready    bool             `json:"ready"`
	Reason   string           `json:"why,omitempty"`
	Instance string           `json:"instance"`
	Lanes    []consumer.State `json:"lanes,omitempty"`
}

func newAdmin(instance string, metrics http.Handler) *admin {
	return &admin{instance: instance, metrics: metrics}
}

func (a *admin) watch(nc *nats.Conn, js jetstream.JetStream, l *lanes) {
	a.worker.Store(&watched{nc, js, l})
}

// serve listens on addr until stop is called.
func (a *admin) serve(addr string, log *slog.Logger) (stop func(), err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	a.url = "http://" + listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.serveReady)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() { _ = server.Serve(listener) }() // ends with Shutdown
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
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
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

// ready reports whether requests are processed: NATS is connected, the streams have
// safe settings and every lane runs.
func (a *admin) ready(ctx context.Context) readiness {
	answer := readiness{Instance: a.instance}
	worker := a.worker.Load()
	switch {
	case worker == nil:
		answer.Reason = "still waiting for NATS and its streams"
		return answer
	case !worker.nc.IsConnected():
		answer.Reason = "not connected to NATS"
	}
	answer.Lanes = worker.lanes.states()
	if answer.Reason == "" {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if err := streams.Check(ctx, worker.js, worker.lanes.configs[0].ResultsMinAge, events.Targets()...); err != nil {
			answer.Reason = err.Error()
		}
	}
	for _, lane := range answer.Lanes {
		if lane.Status != consumer.StatusRunning && answer.Reason == "" {
			answer.Reason = fmt.Sprintf("lane %s is %s: %s", lane.Target, lane.Status, lane.Why)
		}
	}
	answer.Ready = answer.Reason == ""
	return answer
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
