package main

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// earlier looks what was answered before. A publisher may not be allowed to read
// results; then it looks once, in vain, and publishes without.
type earlier struct {
	*resultReader
	allowed context.Context // ends when the server denies looking
	opening sync.Once
	stream  jetstream.Stream
	blind   atomic.Bool
}

func newEarlier(allowed context.Context, l *resultReader) *earlier {
	return &earlier{resultReader: l, allowed: allowed}
}

func (e *earlier) possible() bool { return !e.blind.Load() && e.allowed.Err() == nil }

// look gives the newest result under the request's id, nil if there is none or it
// cannot be read.
func (e *earlier) look(ctx context.Context, r events.Request) *storedResult {
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	defer context.AfterFunc(e.allowed, cancel)()
	e.opening.Do(func() {
		var err error
		if e.stream, err = e.js.Stream(ctx, events.StreamResults); err != nil {
			e.blind.Store(true)
		}
	})
	if !e.possible() {
		return nil
	}
	result, err := e.newestOn(ctx, e.stream, r.Target(), r.ID)
	if err != nil {
		e.blind.Store(true)
		return nil
	}
	return result
}
