package ledger

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	kvTarget     = events.KVUserContext
	sensayTarget = events.SensayKnowledgeBase
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// newServer runs a NATS server with the streams until the test ends.
func newServer(t testing.TB) jetstream.JetStream {
	t.Helper()
	_, js := e2e.Serve(t, e2e.ServerConfig{Dir: filepath.Join(t.TempDir(), "js")})
	if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	return js
}

func newLedger(js jetstream.JetStream, target events.Target) *Ledger {
	return New(js, target, NewID(), slog.New(slog.DiscardHandler))
}

// put stores a record and returns its sequence.
func put(t testing.TB, l *Ledger, p *Pending, err error) uint64 {
	t.Helper()
	if err == nil {
		err = l.Append(t.Context(), p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p.Progress.Seq
}

// entryResult is a result about a knowledge-base entry.
func entryResult(id string) events.Result {
	return events.Result{
		EventID: NewID(), Source: "/lethe/test", Time: noon, RequestID: id, RequestSource: "/test", Target: sensayTarget,
		Resource: events.KnowledgeBaseEntry{ReplicaUUID: uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"), KnowledgeBaseID: 7},
		Outcome:  events.Deleted, Attempts: 1, Evidence: &events.Evidence{Status: 200, ObservedAt: noon},
	}
}

// messages returns what a stream contains.
func messages(t testing.TB, js jetstream.JetStream, stream string) (all []*streams.Message) {
	t.Helper()
	for next := uint64(1); ; {
		m, err := streams.NextMessage(t.Context(), js, stream, ">", next)
		if err != nil {
			t.Fatal(err)
		}
		if m == nil {
			return all
		}
		next = m.Seq + 1
		all = append(all, m)
	}
}

// asConflict returns the last record that a conflict names.
func asConflict(t testing.TB, err error) *Record {
	t.Helper()
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("%v is not a conflict", err)
	}
	return conflict.Last
}
