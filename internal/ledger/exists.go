package ledger

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// existence checks with one request to the server that none of many requests has a
// record, as is true of nearly all.
//
// It is a direct get (ADR-31), which any replica or mirror may answer, even one that lags
// behind. So it is used only if a single server can answer.
type existence struct {
	js     jetstream.JetStream
	filter func(id string) string
	single atomic.Bool // the stream has one replica and no mirror, and allows direct gets
}

// existsTimeout bounds that request. After it, each request is checked by itself.
const existsTimeout = time.Second

// NoneExist reports whether the server had no message of any of these requests at some
// time after the call began. It returns false if there is one, and if it cannot tell.
func (l *Ledger) NoneExist(ctx context.Context, ids []string) bool {
	e := &l.exists
	if len(ids) == 0 || !e.single.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, existsTimeout)
	defer cancel()
	filters := make([]string, len(ids))
	for i, id := range ids {
		filters[i] = e.filter(id)
	}
	request, err := json.Marshal(struct {
		Last  []string `json:"multi_last"`
		Batch int      `json:"batch"`
	}{filters, 1})
	if err != nil {
		return false
	}
	// Any other first reply means that a message exists, or nothing at all.
	reply, err := e.js.Conn().RequestWithContext(ctx, streams.APISubject(e.js, "DIRECT.GET."+events.StreamResults), request)
	return err == nil && len(reply.Data) == 0 && reply.Header.Get("Status") == "404" && reply.Header.Get("Description") == "No Results"
}

// LearnReplicas finds out whether a single server answers a direct get, on which
// [Ledger.NoneExist] depends. If it cannot find out, it assumes that several do.
func (l *Ledger) LearnReplicas(ctx context.Context) error {
	e := &l.exists
	single := false
	defer func() { e.single.Store(single) }()
	stream, err := e.js.Stream(ctx, events.StreamResults)
	if err != nil {
		return err
	}
	all := e.js.ListStreams(ctx)
	mirrored := false
	for info := range all.Info() {
		mirrored = mirrored || info.Config.Mirror != nil && info.Config.Mirror.Name == events.StreamResults
	}
	if err := all.Err(); err != nil {
		return err
	}
	single = !mirrored && directGetIsCurrent(stream.CachedInfo().Config)
	return nil
}

// directGetIsCurrent reports whether a direct get of a stream without mirrors returns
// what the stream contains.
func directGetIsCurrent(c jetstream.StreamConfig) bool { return c.Replicas == 1 && c.AllowDirect }
