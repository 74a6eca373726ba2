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

// serviceName is the name under which every worker answers $SRV.PING, INFO and STATS
// (NATS ADR-32). `lethe status` asks for it.
const serviceName = "lethe"

// serviceVersion is the version of this service's protocol. ADR-32 requires SemVer.
const serviceVersion = "1.0.0"

// workerStats is the data that a worker adds to its answer to $SRV.STATS.
type workerStats struct {
	Instance string           `json:"instance"`
	Lanes    []consumer.State `json:"lanes"`
	// EmbeddedSync is LETHE_EMBEDDED_SYNC of a worker that embeds the NATS server, which
	// reports it nowhere else; empty for other workers.
	EmbeddedSync string `json:"embedded_sync,omitempty"`
}

// service answers requests about one worker.
//
// It implements ADR-32 itself, because the library replies to any subject. With it,
// a client that may send requests could make the worker publish to a stream that is
// reserved for workers.
type service struct {
	nc       *nats.Conn
	identity micro.ServiceIdentity
	started  time.Time
	lanes    *lanes
	// embeddedSync is that of workerStats.
	embeddedSync string
	requests     atomic.Int64 // for the lanes
	subs         []*nats.Subscription
}

// announce registers the worker as a NATS service. stop unregisters it.
func announce(nc *nats.Conn, instance, embeddedSync string, l *lanes) (stop func(), err error) {
	s := &service{nc: nc, lanes: l, embeddedSync: embeddedSync, started: time.Now().UTC(), identity: micro.ServiceIdentity{
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
	if err := s.answer(s.lanesSubject(), func() any { s.requests.Add(1); return s.worker() }); err != nil {
		s.stop()
		return nil, fmt.Errorf("announce the worker: %w", err)
	}
	return s.stop, nil
}

// answer answers requests on a subject if their reply subject is an inbox.
func (s *service) answer(subject string, value func() any) error {
	sub, err := s.nc.Subscribe(subject, func(m *nats.Msg) {
		if !isInbox(m.Reply) {
			return
		}
		if body, err := json.Marshal(value()); err == nil {
			_ = m.Respond(body) // the client may have disconnected
		}
	})
	s.subs = append(s.subs, sub)
	return err
}

func (s *service) stop() {
	for _, sub := range s.subs {
		_ = sub.Unsubscribe() // fails only on a closed connection
	}
}

func (s *service) lanesSubject() string { return "lethe.lanes." + s.identity.ID }

func (s *service) worker() workerStats {
	return workerStats{s.identity.ID, s.lanes.states(), s.embeddedSync}
}

func (s *service) info() micro.Info {
	return micro.Info{
		ServiceIdentity: s.identity, Type: micro.InfoResponseType, Description: "Lethe worker",
		Endpoints: []micro.EndpointInfo{{Name: "lanes", Subject: s.lanesSubject()}},
	}
}

func (s *service) stats() micro.Stats {
	endpoint := &micro.EndpointStats{Name: "lanes", Subject: s.lanesSubject(), NumRequests: int(s.requests.Load())}
	endpoint.Data, _ = json.Marshal(s.worker()) // every value in it can be encoded
	return micro.Stats{ServiceIdentity: s.identity, Type: micro.StatsResponseType, Started: s.started, Endpoints: []*micro.EndpointStats{endpoint}}
}

// isInbox reports whether a reply subject is an inbox: one that begins with _INBOX, or
// its mapping between accounts (_R_) or clusters (_GR_, two hashes, the inbox).
func isInbox(reply string) bool {
	if rest, ok := strings.CutPrefix(reply, "_GR_."); ok {
		tokens := strings.SplitN(rest, ".", 3)
		reply = tokens[len(tokens)-1]
	}
	return strings.HasPrefix(reply, "_INBOX") || strings.HasPrefix(reply, "_R_.")
}
