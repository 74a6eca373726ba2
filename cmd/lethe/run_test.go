package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// The client library keeps each publish until its acknowledgement comes, and lets only so
// many wait. Those whose acknowledgement is lost must not stay among them.
func TestAnAcknowledgementThatNeverComesIsForgotten(t *testing.T) {
	b := newBench(t)
	proxy, err := e2e.NewProxy(strings.TrimPrefix(b.server.ClientURL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	nc, err := nats.Connect("nats://" + proxy.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := openStreams(t.Context(), nc, &config.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	publish := func() jetstream.PubAckFuture {
		future, err := js.PublishMsgAsync(nats.NewMsg(events.ResultSubject(events.KVUserContext, ledger.NewID(), events.Deleted)))
		if err != nil {
			t.Fatal(err)
		}
		return future
	}
	select {
	case <-publish().Ok():
	case <-t.Context().Done():
		t.Fatal("a publish without a fault is not acknowledged")
	}
	proxy.DropReplies()
	lost := publish()
	b.until("the publish is forgotten", func() bool { return js.PublishAsyncPending() == 0 })
	if err := <-lost.Err(); !errors.Is(err, jetstream.ErrAsyncPublishTimeout) {
		t.Errorf("the publish ended with %v", err)
	}
}
