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
	"github.com/lethe-dev/lethe/internal/streams"
)

// jszSubject asks every server for its JetStream settings. Servers answer only in the
// system account, or if that account exports the subject.
const jszSubject = "$SYS.REQ.SERVER.PING.JSZ"

// serversAnswerWithin is how long to wait for the servers' answers.
const serversAnswerWithin = 500 * time.Millisecond

// enoughReplicas is the number of replicas at which a power cut of one server loses nothing.
const enoughReplicas = 3

// syncing is how often a server syncs its files to disk.
type syncing struct {
	server   string
	always   bool
	interval time.Duration
	fix      string // the setting that makes it always
}

// embeddedSyncing returns the sync setting of the embedded server, or nil if another
// server is used.
func embeddedSyncing(cfg *config.Config) *syncing {
	if cfg.NATSURL.Reveal() != "" {
		return nil
	}
	return embeddedServer(cfg.Embedded.Sync)
}

func embeddedServer(sync config.Sync) *syncing {
	return &syncing{server: "the embedded server", always: sync == 0, interval: time.Duration(sync), fix: "LETHE_EMBEDDED_SYNC=always"}
}

// embeddedSync is the sync setting that a worker reports of its embedded server, "" if it
// has none.
func embeddedSync(cfg *config.Config) string {
	if cfg.NATSURL.Reveal() != "" {
		return ""
	}
	return cfg.Embedded.Sync.String()
}

// reportedSyncing returns the sync setting of the embedded server as its worker reports
// it, nil if no worker has an embedded server.
func reportedSyncing(workers []workerStats) *syncing {
	for _, w := range workers {
		var sync config.Sync
		if w.EmbeddedSync != "" && sync.Decode(w.EmbeddedSync) == nil {
			return embeddedServer(sync)
		}
	}
	return nil
}

// durability returns one warning for each server whose acknowledged messages might not
// survive a power cut. known is false if the servers do not report their settings.
// embedded is the embedded server's setting, nil for another server.
func durability(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, embedded *syncing) (warnings []string, known bool, err error) {
	few := 0
	for _, name := range []string{events.StreamRequests, events.StreamResults, events.StreamLater, streams.Control} {
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
		return []string{fmt.Sprintf("%d of the streams have fewer than %d replicas, and the server does not report its sync_interval: "+
			"unless that is always, a power cut loses acknowledged requests, results, retries and pauses", few, enoughReplicas)}, false, nil
	}
	for _, s := range servers {
		if !s.always {
			warnings = append(warnings, fmt.Sprintf("%s syncs to disk every %s, and %d of the streams have fewer than %d replicas: "+
				"a power cut loses the requests, results, retries and pauses acknowledged since the last sync; set %s", s.server, s.interval, few, enoughReplicas, s.fix))
		}
	}
	return warnings, true, nil
}

// askServers returns the settings of each server that answers in time. Without the permission, it returns none.
func askServers(ctx context.Context, nc *nats.Conn) ([]syncing, error) {
	answers, err := askAll(ctx, nc, jszSubject, serversAnswerWithin)
	if err != nil {
		return nil, fmt.Errorf("ask the servers: %w", err)
	}
	var servers []syncing
	for _, msg := range answers {
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
	return servers, nil
}
