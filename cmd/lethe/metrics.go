package main

import (
	"cmp"
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/backlog"
)

// gauges are the metrics of a worker that are read when they are collected: what it is,
// the states of its lanes, and the backlog that the server last reported. Events are
// counted where they happen. docs/metrics.md lists all of them.
//
// Numbers that can be summed over the workers are up-down counters. Numbers that each
// worker reads from the server are the same for all, so they are gauges.
type gauges struct {
	build, connected, laneState, callsLimit, callsInFlight metric.Int64ObservableUpDownCounter
	callsRate                                              metric.Float64ObservableGauge

	waiting, inFlight, scheduled, failed metric.Int64ObservableGauge
	oldest, maxAge                       metric.Float64ObservableGauge
	bytes, maxBytes                      metric.Int64ObservableGauge
}

// observe registers the metrics of the worker behind a.
func observe(a *admin) error {
	meter := otel.Meter("github.com/lethe-dev/lethe/cmd/lethe")
	g := &gauges{}
	g.describe(meter)
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		g.collect(o, a.worker.Load())
		return nil
	}, g.build, g.connected, g.laneState, g.callsLimit, g.callsInFlight, g.callsRate,
		g.waiting, g.inFlight, g.scheduled, g.failed, g.oldest, g.bytes, g.maxBytes, g.maxAge)
	return err
}

// describe creates the instruments. The errors are about names, which are constant, and
// an instrument that comes with an error can still be used.
func (g *gauges) describe(meter metric.Meter) {
	sum := func(name, unit, description string) metric.Int64ObservableUpDownCounter {
		i, _ := meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		return i
	}
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		i, _ := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		return i
	}
	g.build = sum("lethe.build", "{worker}", "1 for this worker, with its version.")
	g.connected = sum("lethe.nats.connected", "{connection}", "1 while the worker is connected to NATS, else 0.")
	g.laneState = sum("lethe.lane.state", "{lane}", "1 for the state that the lane is in, 0 for the others.")
	g.callsLimit = sum("lethe.calls.limit", "{call}", "Calls that may be in flight at the same time.")
	g.callsInFlight = sum("lethe.calls.in_flight", "{call}", "Calls in flight.")
	g.callsRate, _ = meter.Float64ObservableGauge("lethe.calls.rate.limit", metric.WithUnit("{call}/s"),
		metric.WithDescription("Calls that may begin in a second; absent while no limit is known."))

	g.waiting = gauge("lethe.requests.waiting", "{request}", "Requests and due steps that no worker has.")
	g.inFlight = gauge("lethe.requests.in_flight", "{request}", "Requests and due steps that workers have, or returned and were not delivered again yet.")
	g.scheduled = gauge("lethe.requests.scheduled", "{request}", "Requests that wait for the time of their next step.")
	g.failed = gauge("lethe.failed", "{result}", "Failed results that are kept.")
	g.oldest, _ = meter.Float64ObservableGauge("lethe.requests.oldest.age", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest request or due step without an answer, 0 if there is none."))
	g.bytes = gauge("lethe.stream.bytes", "By", "Bytes in the stream.")
	g.maxBytes = gauge("lethe.stream.max_bytes", "By", "Bytes that the stream may have; absent if it has no limit.")
	g.maxAge, _ = meter.Float64ObservableGauge("lethe.stream.max_age", metric.WithUnit("s"),
		metric.WithDescription("How long the stream keeps its messages; absent if it keeps them forever."))
}

func (g *gauges) collect(o metric.Observer, worker *watched) {
	o.ObserveInt64(g.build, 1, buildAttributes())
	if worker == nil {
		o.ObserveInt64(g.connected, 0)
		return
	}
	o.ObserveInt64(g.connected, oneIf(worker.nc.IsConnected()))
	for _, lane := range worker.lanes.lanes {
		state := lane.State()
		g.collectState(o, state)
		if state.Status != consumer.StatusOff {
			g.collectCalls(o, state, lane.CallsInFlight())
		}
	}
	if read := worker.backlog.Latest(); read != nil {
		g.collectBacklog(o, read)
	}
}

func (g *gauges) collectState(o metric.Observer, lane consumer.State) {
	for _, s := range consumer.Statuses() {
		o.ObserveInt64(g.laneState, oneIf(s == lane.Status), ofTarget(lane.Target, attribute.String("lethe.state", string(s))))
	}
}

func (g *gauges) collectCalls(o metric.Observer, lane consumer.State, inFlight int) {
	of := ofTarget(lane.Target)
	o.ObserveInt64(g.callsLimit, int64(lane.MaxCalls), of)
	o.ObserveInt64(g.callsInFlight, int64(inFlight), of)
	if lane.CallsPerSecond > 0 {
		o.ObserveFloat64(g.callsRate, lane.CallsPerSecond, of)
	}
}

// collectBacklog collects what is known.
func (g *gauges) collectBacklog(o metric.Observer, read *backlog.Snapshot) {
	for _, lane := range read.Lanes {
		of := ofTarget(lane.Target)
		for gauge, n := range map[metric.Int64ObservableGauge]*uint64{
			g.waiting: lane.Waiting, g.inFlight: lane.InFlight, g.scheduled: lane.Scheduled, g.failed: lane.Failed,
		} {
			if n != nil {
				o.ObserveInt64(gauge, int64(*n), of)
			}
		}
		if lane.Oldest != nil {
			age := *lane.Oldest
			if age > 0 { // it grows until the next reading
				age += time.Since(read.At)
			}
			o.ObserveFloat64(g.oldest, age.Seconds(), of)
		}
	}
	for _, stream := range read.Streams {
		of := metric.WithAttributes(attribute.String("lethe.stream", stream.Name))
		o.ObserveInt64(g.bytes, int64(stream.Bytes), of)
		if stream.MaxBytes > 0 {
			o.ObserveInt64(g.maxBytes, stream.MaxBytes, of)
		}
		if stream.MaxAge > 0 {
			o.ObserveFloat64(g.maxAge, stream.MaxAge.Seconds(), of)
		}
	}
}

func ofTarget(target events.Target, more ...attribute.KeyValue) metric.ObserveOption {
	return metric.WithAttributes(append(more, attribute.String("lethe.target", string(target)))...)
}

func oneIf(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

func buildAttributes() metric.ObserveOption {
	b := buildInfo()
	commit := cmp.Or(b.Commit, "unknown")
	return metric.WithAttributes(semconv.ServiceVersion(b.Version), semconv.ProcessRuntimeVersion(b.Go), semconv.VCSRefHeadRevision(commit))
}
