package consumer

import (
	"sync/atomic"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// laterUsage is how full DELETION_LATER is, as it was last read from the server.
type laterUsage struct {
	limited atomic.Bool
	percent atomic.Uint64
}

// laterFetchLimit is the share of its max_bytes, in percent, from which on nothing is
// fetched at all. From [streams.LaterFullAt] on a lane fetches no new requests, which
// could become retries.
const laterFetchLimit = 90

// mayFetch reports whether DELETION_LATER has space for the next steps of the
// stream's messages. Due steps free more space than they need.
func (u *laterUsage) mayFetch(stream string) bool {
	percent := u.percent.Load()
	return percent < streams.LaterFullAt || stream == events.StreamLater && percent < laterFetchLimit
}
