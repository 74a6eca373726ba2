package streams_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// A server that dies loses its replies. A command, whose context has no deadline, must not wait for
// one forever.
func TestAReadWithoutAReplyEnds(t *testing.T) {
	t.Parallel()
	nc := setUp(t).Conn()
	if _, err := nc.SubscribeSync("$JS.silent.API.STREAM.MSG.GET.>"); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.NewWithDomain(nc, "silent", jetstream.WithDefaultTimeout(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	late := time.AfterFunc(30*time.Second, cancel)
	defer late.Stop()
	if _, err := streams.LastMessage(ctx, js, events.StreamRequests, ">"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the read ended with %v", err)
	}
}
