package consumer

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
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

	mu      sync.Mutex
	waiting []*look
	asking  bool
}

// look is one request that asks.
type look struct {
	id    string
	empty chan bool
}

// mostLooks bounds a question, whose answer the server finds while it does nothing
// else with the stream.
const mostLooks = 256

// lookTimeout is how long all wait for an answer, before each asks for itself.
const lookTimeout = time.Second

// empty says that a chain was empty after the call began. It says no where it is
// not, or where nobody knows.
func (l *looks) empty(ctx context.Context, id string) bool {
	if !l.single.Load() {
		return false
	}
	mine := &look{id: id, empty: make(chan bool, 1)}
	l.mu.Lock()
	l.waiting = append(l.waiting, mine)
	if !l.asking {
		l.asking = true
		go l.ask()
	}
	l.mu.Unlock()
	select {
	case empty := <-mine.empty:
		return empty
	case <-ctx.Done():
		return false
	}
}

// ask asks for all who wait, until nobody does.
func (l *looks) ask() {
	for {
		l.mu.Lock()
		now := l.waiting
		if l.waiting = nil; len(now) > mostLooks {
			now, l.waiting = now[:mostLooks], now[mostLooks:]
		}
		l.asking = len(now) > 0
		l.mu.Unlock()
		if len(now) == 0 {
			return
		}
		empty := l.allEmpty(now)
		for _, one := range now {
			one.empty <- empty
		}
	}
}

// allEmpty says that the server has nothing on any of the chains.
func (l *looks) allEmpty(of []*look) bool {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	filters := make([]string, len(of))
	for i, one := range of {
		filters[i] = l.filter(one.id)
	}
	request, err := json.Marshal(struct {
		Last  []string `json:"multi_last"`
		Batch int      `json:"batch"`
	}{filters, 1})
	if err != nil {
		return false
	}
	// Whatever else comes first says that something is there, or nothing.
	reply, err := l.js.Conn().RequestWithContext(ctx, apiSubject(l.js, "DIRECT.GET."+events.StreamResults), request)
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
