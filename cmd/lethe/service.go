package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/lethe-dev/lethe/consumer"
)

// serviceName is under which every worker answers to $SRV.PING, INFO and STATS
// (NATS ADR-32), and so to `lethe status`.
const serviceName = "lethe"

// serviceVersion is of the service's own protocol: ADR-32 wants SemVer.
const serviceVersion = "1.0.0"

// workerStats is what a worker adds to its answer to $SRV.STATS.
type workerStats struct {
	Instance string           `json:"instance"`
	Lanes    []consumer.State `json:"lanes"`
}

// service answers questions about one worker.
//
// It speaks ADR-32 itself. The library answers to every reply subject: with one
// request, anybody who may ask could have the worker write to a stream that only
// workers may write to.
type service struct {
	nc       *nats.Conn
	identity micro.ServiceIdentity
	started  time.Time
	lanes    *lanes
	asked    atomic.Int64 // for the lanes
	subs     []*nats.Subscription
}

// announce makes the worker known as a NATS service and returns how to stop.
func announce(nc *nats.Conn, instance string, l *lanes) (stop func(), err error) {
	s := &service{nc: nc, lanes: l, started: time.Now().UTC(), identity: micro.ServiceIdentity{
		Name: serviceName, ID: instance, Version: serviceVersion,
		Metadata: map[string]string{"instance": instance, "version": buildVersion()},
	}}
	for verb, answer := range map[micro.Verb]func() any{
		micro.PingVerb:  func() any { return micro.Ping{ServiceIdentity: s.identity, Type: micro.PingResponseType} },
		micro.InfoVerb:  func() any { return s.info() },
		micro.StatsVerb: func() any { return s.stats() },
	} {
		for _, of := range [][2]string{{"", ""}, {serviceName, ""}, {serviceName, instance}} {
			subject, err := micro.ControlSubject(verb, of[0], of[1])
			if err == nil {
				err = s.answer(subject, answer)
			}
			if err != nil {
				s.stop()
				return nil, fmt.Errorf("announce the worker: %w", err)
			}
		}
	}
	if err := s.answer(s.lanesSubject(), func() any { s.asked.Add(1); return s.worker() }); err != nil {
		s.stop()
		return nil, fmt.Errorf("announce the worker: %w", err)
	}
	return s.stop, nil
}

// answer answers each request on a subject that waits at an inbox.
func (s *service) answer(subject string, value func() any) error {
	sub, err := s.nc.Subscribe(subject, func(m *nats.Msg) {
		if !isInbox(m.Reply) {
			return
		}
		if body, err := json.Marshal(value()); err == nil {
			_ = m.Respond(body) // who asked may be gone
		}
	})
	s.subs = append(s.subs, sub)
	return err
}

func (s *service) stop() {
	for _, sub := range s.subs {
		_ = sub.Unsubscribe() // fails on a closed connection alone
	}
}

func (s *service) lanesSubject() string { return "lethe.lanes." + s.identity.ID }

func (s *service) worker() workerStats { return workerStats{s.identity.ID, s.lanes.states()} }

func (s *service) info() micro.Info {
	return micro.Info{
		ServiceIdentity: s.identity, Type: micro.InfoResponseType, Description: "Lethe worker",
		Endpoints: []micro.EndpointInfo{{Name: "lanes", Subject: s.lanesSubject()}},
	}
}

func (s *service) stats() micro.Stats {
	endpoint := &micro.EndpointStats{Name: "lanes", Subject: s.lanesSubject(), NumRequests: int(s.asked.Load())}
	endpoint.Data, _ = json.Marshal(s.worker()) // which holds nothing that JSON does not
	return micro.Stats{ServiceIdentity: s.identity, Type: micro.StatsResponseType, Started: s.started, Endpoints: []*micro.EndpointStats{endpoint}}
}

// isInbox says that a reply subject is one at which somebody waits for an answer:
// an inbox, with any prefix that begins like the usual one, or what a server makes
// of it between accounts (_R_) or clusters (_GR_, two hashes, the inbox).
func isInbox(reply string) bool {
	if rest, ok := strings.CutPrefix(reply, "_GR_."); ok {
		tokens := strings.SplitN(rest, ".", 3)
		reply = tokens[len(tokens)-1]
	}
	return strings.HasPrefix(reply, "_INBOX") || strings.HasPrefix(reply, "_R_.")
}
