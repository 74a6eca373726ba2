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
	said    bool
}

type failure struct {
	since time.Time
	why   string
}

func newPulls(js jetstream.JetStream, log *slog.Logger) *pulls {
	return &pulls{js: js, log: log, failing: map[string]failure{}}
}

// note records whether a pull failed.
func (p *pulls) note(stream string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.failing, stream)
		if p.said && len(p.failing) == 0 {
			p.said = false
			p.log.Info("messages are fetched again")
		}
		return
	}
	f, before := p.failing[stream]
	if !before {
		f.since = time.Now()
	}
	f.why = ledger.FailureText(p.js, err)
	p.failing[stream] = f
	if !p.said && f.why != ledger.NotConnected && time.Since(f.since) >= pullsFailFor {
		p.said = true
		p.log.Warn("cannot fetch messages, trying again", "reason", f.why)
	}
}

// any returns why pulls have failed for a while, "" if they have not.
func (p *pulls) any() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.failing {
		if time.Since(f.since) >= pullsFailFor {
			return "cannot fetch messages: " + f.why
		}
	}
	return ""
}
