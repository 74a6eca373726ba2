package consumer

import (
	"context"
	"sync"
)

// room is how much of one stream a lane may have in hand. Who waits for an answer
// takes none: an API that is slow does not keep others from asking it too, as far
// as the lane's concurrency goes, and one that is fast lets little pile up.
type room struct {
	most  int
	freed chan struct{} // holds a word of it for whoever waits in reserve

	mu    sync.Mutex
	taken int // more than most where answers came for many at once
}

func newRoom(most int) *room { return &room{most: most, freed: make(chan struct{}, 1)} }

// reserve waits for n places and takes them. It says no when stop ends first.
// Only one at a time may call it.
func (r *room) reserve(stop context.Context, n int) bool {
	for stop.Err() == nil {
		r.mu.Lock()
		free := r.taken+n <= r.most
		if free {
			r.taken += n
		}
		r.mu.Unlock()
		if free {
			return true
		}
		select {
		case <-stop.Done():
		case <-r.freed:
		}
	}
	return false
}

// leave gives n places back.
func (r *room) leave(n int) {
	r.mu.Lock()
	r.taken -= n
	r.mu.Unlock()
	select {
	case r.freed <- struct{}{}:
	default:
	}
}

// comeBack takes a place that was left for a while, be there room or not.
func (r *room) comeBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken++
}
