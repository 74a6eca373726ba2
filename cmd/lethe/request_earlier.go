package main

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// resultLookup finds the earlier result of a request. A publisher may lack the
// permission to read results. After the first failure it does not look up results any more.
type resultLookup struct {
	*resultReader
	allowed context.Context // ends when the server denies a lookup
	opening sync.Once
	stream  jetstream.Stream
	failed  atomic.Bool
}

func newResultLookup(allowed context.Context, l *resultReader) *resultLookup {
	return &resultLookup{resultReader: l, allowed: allowed}
}

func (e *resultLookup) possible() bool { return !e.failed.Load() && e.allowed.Err() == nil }

// find returns the newest result with the request's id, nil if there is none or it
// cannot be read.
func (e *resultLookup) find(ctx context.Context, r events.Request) *storedResult {
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	defer context.AfterFunc(e.allowed, cancel)() //nolint:contextcheck // it ends with the permission to look up
	e.opening.Do(func() {
		var err error
		if e.stream, err = e.js.Stream(ctx, events.StreamResults); err != nil {
			e.failed.Store(true)
		}
	})
	if !e.possible() {
		return nil
	}
	result, err := e.newestOn(ctx, e.stream, r.Target(), r.ID)
	if err != nil {
		e.failed.Store(true)
		return nil
	}
	return result
}
