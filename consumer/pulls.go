package consumer

import (
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/internal/ledger"
)

// pullsFailFor is how long pulls must fail before the lane is said not to run. A
// server that restarts, or elects a leader, takes less.
const pullsFailFor = 5 * time.Second

// pulls records which of a lane's pulls fail, and logs each outage once.
type pulls struct {
	js  jetstream.JetStream
	log *slog.Logger

	mu      sync.Mutex
	failing map[string]failure // by stream
	logged  bool
}

type failure struct {
	since  time.Time
	reason string
}

func newPulls(js jetstream.JetStream, log *slog.Logger) *pulls {
	return &pulls{js: js, log: log, failing: map[string]failure{}}
}

// report records whether a pull failed.
func (p *pulls) report(stream string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.failing, stream)
		if p.logged && len(p.failing) == 0 {
			p.logged = false
			p.log.Info("messages are fetched again")
		}
		return
	}
	f, before := p.failing[stream]
	if !before {
		f.since = time.Now()
	}
	f.reason = ledger.FailureText(p.js, err)
	p.failing[stream] = f
	if !p.logged && f.reason != ledger.NotConnected && time.Since(f.since) >= pullsFailFor {
		p.logged = true
		p.log.Warn("cannot fetch messages, trying again", "reason", f.reason)
	}
}

// reason returns why pulls have failed for a while, "" if they have not.
func (p *pulls) reason() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.failing {
		if time.Since(f.since) >= pullsFailFor {
			return "cannot fetch messages: " + f.reason
		}
	}
	return ""
}
