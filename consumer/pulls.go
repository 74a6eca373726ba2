package consumer

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/internal/ledger"
)

// pullsFailFor is how long pulls must fail before the lane reports a problem. A server
// that restarts or elects a leader takes less time.
const pullsFailFor = 5 * time.Second

// pulls records which of a lane's pulls fail.
type pulls struct {
	js jetstream.JetStream

	mu      sync.Mutex
	failing map[string]ledger.Failure // by stream
}

func newPulls(js jetstream.JetStream) *pulls {
	return &pulls{js: js, failing: map[string]ledger.Failure{}}
}

// report records whether a pull failed.
func (p *pulls) report(stream string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.failing, stream)
		return
	}
	f, before := p.failing[stream]
	if !before {
		f.Since = time.Now()
	}
	f.Reason = fmt.Sprintf("stream %s: cannot fetch messages: %s", stream, ledger.FailureText(p.js, err))
	f.Fix = ledger.FailureFix(p.js, stream, err)
	p.failing[stream] = f
}

// failures returns why pulls have failed for a while, nil if they have not.
func (p *pulls) failures() (all []ledger.Failure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stream := range slices.Sorted(maps.Keys(p.failing)) {
		if f := p.failing[stream]; time.Since(f.Since) >= pullsFailFor {
			all = append(all, f)
		}
	}
	return all
}
