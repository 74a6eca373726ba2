package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/config"
)

// jszSubject asks every server what it says of its JetStream. It is answered in
// the system account alone, or where that exports it.
const jszSubject = "$SYS.REQ.SERVER.PING.JSZ"

// serversAnswerWithin is how long the servers' answers are listened for.
const serversAnswerWithin = 500 * time.Millisecond

// enoughReplicas is how many make a power cut of one server harmless.
const enoughReplicas = 3

// syncing is how a server writes to its disk.
type syncing struct {
	server   string
	always   bool
	interval time.Duration
	remedy   string // the setting that makes it always
}

// embeddedSyncing is how the embedded server is set to sync, nil where another
// one is used.
func embeddedSyncing(cfg *config.Config) *syncing {
	if cfg.NATSURL.Reveal() != "" {
		return nil
	}
	interval := time.Duration(cfg.Embedded.Sync)
	return &syncing{server: "the embedded server", always: interval == 0, interval: interval, remedy: "LETHE_EMBEDDED_SYNC=always"}
}

// durability says, a line each, where what the server acknowledges might not
// survive a power cut, and whether the servers told. embedded is how the
// embedded server syncs, nil for another server.
func durability(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, embedded *syncing) (warnings []string, told bool, err error) {
	few := 0
	for _, name := range []string{events.StreamRequests, events.StreamResults, events.StreamLater} {
		stream, err := js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			return nil, false, fmt.Errorf("stream %s: %w", name, err)
		case stream.CachedInfo().Config.Replicas < enoughReplicas:
			few++
		}
	}
	if few == 0 {
		return nil, true, nil
	}
	var servers []syncing
	if embedded != nil {
		servers = append(servers, *embedded)
	} else if servers, err = askServers(ctx, nc); err != nil {
		return nil, false, err
	}
	if len(servers) == 0 {
		return []string{fmt.Sprintf("%d of the streams have fewer than %d replicas, and the server does not tell how it syncs: "+
			"unless it has sync_interval: always, a power cut loses what it acknowledged", few, enoughReplicas)}, false, nil
	}
	for _, s := range servers {
		if !s.always {
			warnings = append(warnings, fmt.Sprintf("%s syncs its disk every %s and %d of the streams have fewer than %d replicas: "+
				"a power cut loses what it acknowledged since; set %s", s.server, s.interval, few, enoughReplicas, s.remedy))
		}
	}
	return warnings, true, nil
}

// askServers returns what each server tells in time; none where it may not be asked.
func askServers(ctx context.Context, nc *nats.Conn) ([]syncing, error) {
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask the servers: %w", err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	if err := nc.PublishRequest(jszSubject, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask the servers: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, serversAnswerWithin)
	defer cancel()
	var servers []syncing
	for {
		msg, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return servers, nil // nobody, or nobody else
		}
		// The fields of nats-server's JSInfo. sync_always is left out when false.
		var answer struct {
			Server struct {
				Name string `json:"name"`
			} `json:"server"`
			Data *struct {
				Disabled bool `json:"disabled"`
				Config   struct {
					SyncAlways   bool          `json:"sync_always"`
					SyncInterval time.Duration `json:"sync_interval"`
				} `json:"config"`
			} `json:"data"`
		}
		if json.Unmarshal(msg.Data, &answer) != nil || answer.Data == nil || answer.Data.Disabled {
			continue
		}
		servers = append(servers, syncing{"server " + answer.Server.Name, answer.Data.Config.SyncAlways, answer.Data.Config.SyncInterval, "sync_interval: always"})
	}
}
