package consumer

import (
	"fmt"
	"sync/atomic"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// laterRoom is what a lane knows of the room in DELETION_LATER.
type laterRoom struct {
	limited atomic.Bool
	percent atomic.Uint64
}

// laterStopAt is the share of its max_bytes, in percent, from which on nothing is
// taken at all. From [streams.LaterFullAt] on a lane takes no new requests, which
// could become retries.
const laterStopAt = 90

// mayTake says whether messages of the stream may be taken, as far as there is
// room for their next steps. Due steps free more than they need.
func (r *laterRoom) mayTake(stream string) bool {
	percent := r.percent.Load()
	return percent < streams.LaterFullAt || stream == events.StreamLater && percent < laterStopAt
}

// why is the reason why requests are not taken, "" if they are.
func (r *laterRoom) why() string {
	percent := r.percent.Load()
	if percent < streams.LaterFullAt {
		return ""
	}
	return fmt.Sprintf("stream %s: %d %% full: retries would be dropped at its max_bytes; raise %s and run `lethe setup`",
		events.StreamLater, percent, streams.LimitVariable[events.StreamLater])
}
