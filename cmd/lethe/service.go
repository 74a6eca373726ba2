package main

import (
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/lethe-dev/lethe/consumer"
)

// serviceName is under which every worker answers to $SRV.PING, INFO and STATS
// (NATS ADR-32), and so to `lethe status`.
const serviceName = "lethe"

// workerStats is what a worker adds to its answer to $SRV.STATS.
type workerStats struct {
	Instance string           `json:"instance"`
	Lanes    []consumer.State `json:"lanes"`
}

// announce makes the worker known as a NATS service and returns how to stop.
// The library takes over the connection's handlers and calls those that were
// set before, so this comes after connecting.
func announce(nc *nats.Conn, instance string, l *lanes) (stop func(), err error) {
	service, err := micro.AddService(nc, micro.Config{
		Name:         serviceName,
		Version:      "1.0.0", // of the service's own protocol: the library wants SemVer
		Description:  "Lethe worker",
		Metadata:     map[string]string{"instance": instance, "version": buildVersion()},
		StatsHandler: func(*micro.Endpoint) any { return workerStats{instance, l.states()} },
	})
	if err != nil {
		return nil, fmt.Errorf("announce the worker: %w", err)
	}
	err = service.AddEndpoint("lanes", micro.HandlerFunc(func(r micro.Request) {
		_ = r.RespondJSON(workerStats{instance, l.states()}) // whoever asked may be gone
	}), micro.WithEndpointSubject("lethe.lanes."+instance))
	if err != nil {
		return nil, fmt.Errorf("announce the worker: %w", err)
	}
	return func() { _ = service.Stop() }, nil
}
