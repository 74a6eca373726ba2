package consumer

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// looks asks for many requests at once whether their chains are empty, as nearly
// all are: while one question is out, those that come meanwhile wait, and are the
// next. A backlog thereby costs the server one look for a hundred requests.
//
// It asks with a direct get (ADR-31), which any replica or mirror may answer, be it
// behind or not. So it asks only where the stream is alone.
type looks struct {
	js     jetstream.JetStream
	filter func(id string) string
	single atomic.Bool // the stream has one replica and no mirror, and allows direct gets
}

// lookTimeout is how long a question may take, before each asks for itself.
const lookTimeout = time.Second

// empty says that the server has nothing on any of the chains, as of after the
// call began. It says no where there is something, or where nobody knows.
func (l *looks) empty(ctx context.Context, ids []string) bool {
	if len(ids) == 0 || !l.single.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	filters := make([]string, len(ids))
	for i, id := range ids {
		filters[i] = l.filter(id)
	}
	request, err := json.Marshal(struct {
		Last  []string `json:"multi_last"`
		Batch int      `json:"batch"`
	}{filters, 1})
	if err != nil {
		return false
	}
	// Whatever else comes first says that something is there, or nothing.
	reply, err := l.js.Conn().RequestWithContext(ctx, streams.APISubject(l.js, "DIRECT.GET."+events.StreamResults), request)
	return err == nil && len(reply.Data) == 0 && reply.Header.Get("Status") == "404" && reply.Header.Get("Description") == "No Results"
}

// measure finds out whether only one server answers a direct get. Not to know
// counts as no.
func (l *looks) measure(ctx context.Context) error {
	single := false
	defer func() { l.single.Store(single) }()
	stream, err := l.js.Stream(ctx, events.StreamResults)
	if err != nil {
		return err
	}
	streams := l.js.ListStreams(ctx)
	mirrored := false
	for info := range streams.Info() {
		mirrored = mirrored || info.Config.Mirror != nil && info.Config.Mirror.Name == events.StreamResults
	}
	if err := streams.Err(); err != nil {
		return err
	}
	single = !mirrored && answersForAll(stream.CachedInfo().Config)
	return nil
}

// answersForAll says that a direct get of a stream without mirrors gives what the
// stream holds.
func answersForAll(c jetstream.StreamConfig) bool { return c.Replicas == 1 && c.AllowDirect }
