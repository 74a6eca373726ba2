package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// waitingSubject is the subject of a lane's waiting messages in a stream.
func waitingSubject(stream string, target events.Target) string {
	if stream == events.StreamLater {
		return events.DueSubject(target)
	}
	return events.RequestSubject(target)
}

// storedMessages counts the messages on one subject of a stream. It is used if the
// consumer, which has the number, is missing.
func storedMessages(ctx context.Context, js jetstream.JetStream, name, subject string) (uint64, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", name, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", name, err)
	}
	return info.State.Subjects[subject], nil
}

// oldestMessage is when the oldest message of a lane was stored, among those that wait
// or are in flight; zero if there is none.
func oldestMessage(ctx context.Context, js jetstream.JetStream, target events.Target) (oldest time.Time, err error) {
	for _, name := range []string{events.StreamRequests, events.StreamLater} {
		first, err := streams.NextMessage(ctx, js, name, waitingSubject(name, target), 1)
		var api *jetstream.APIError
		switch {
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamNotFound:
			continue // the streams' problems name it
		case err != nil:
			return oldest, err
		case first != nil && (oldest.IsZero() || first.Time.Before(oldest)):
			oldest = first.Time
		}
	}
	return oldest, nil
}

// askWorkers asks every worker for its statistics (NATS ADR-32) and returns the
// answers that arrive in time.
func askWorkers(ctx context.Context, nc *nats.Conn) ([]workerStats, error) {
	answers, err := askAll(ctx, nc, "$SRV.STATS."+serviceName, workersAnswerWithin)
	if err != nil {
		return nil, fmt.Errorf("ask the workers: %w", err)
	}
	var workers []workerStats
	for _, msg := range answers {
		var stats micro.Stats
		if json.Unmarshal(msg.Data, &stats) != nil {
			continue
		}
		for _, endpoint := range stats.Endpoints {
			var w workerStats
			if json.Unmarshal(endpoint.Data, &w) == nil && w.Instance != "" {
				workers = append(workers, w)
			}
		}
	}
	return workers, nil
}
