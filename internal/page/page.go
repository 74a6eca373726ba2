// Package page shows the situation of a worker as HTML, for an operator.
//
// It gets plain values through [Source], so it depends on neither NATS nor lanes, and it
// changes nothing. The page works without JavaScript; with it, the page reads itself
// again every few seconds. Everything it needs is in the binary.
//
// Read the files in this order:
//
//	page.go      the values that the page shows, and their source
//	serve.go     who may see the page, and the headers
//	view.go      the values as the template shows them
//	verdict.go   the situation in one sentence
//	list.go      the failed and overdue requests, and the search
//	chart.go     charts of the last hour as SVG
//	history.go   the last hour in memory
//	text.go      numbers, ages and commands as text
package page

import (
	"context"
	"sync"
	"time"
)

// Source provides the values of the page. Its methods may be called at the same time.
type Source interface {
	// Situation returns what is known now. It sends nothing over the network.
	Situation() Situation
	// Attention returns the newest failed requests and the overdue ones.
	Attention(ctx context.Context) (Attention, error)
	// Find returns what is stored of the request with an id. Nothing found is an
	// [Answer] with Missing, not an error.
	Find(ctx context.Context, id string) (Answer, error)
}

// Situation is what a worker knows at one time.
type Situation struct {
	// Instance and Version are those of the worker.
	Instance, Version string
	// NotReady is why the worker cannot work, "" if it can.
	NotReady string
	// Lanes are the worker's lanes, empty until it is connected for the first time.
	Lanes []Lane
	// Streams are what is known of the size of the streams.
	Streams []Stream
	// CountedAt is when the server was last asked for its counts; zero: never.
	CountedAt time.Time
	// Unread is what could not be read then, and why.
	Unread []string
	// RequestsIn is how many requests were ever stored, of all lanes; nil: unknown.
	RequestsIn *uint64
}

// Lane is the state of one lane. A nil number is unknown.
type Lane struct {
	Target string
	State  string // running, throttled, failing, suspended, blocked, paused or off
	// NotServed is true if the lane is off by choice, so that being off is not a
	// problem.
	NotServed bool
	// Problems are all of them, that of the state first. Those of a running lane do not
	// stop it.
	Problems []Problem

	// Counts of the server, for all workers.
	Waiting, InFlight, Scheduled, Failed *uint64
	Oldest                               *time.Duration // 0: none waits

	// What follows is this worker's own.
	Calls      int // in flight
	MaxCalls   int // that may be in flight
	CallsLimit float64
	NextCall   time.Time // when a lane that makes no calls tries again
	Totals     Totals
}

// Problem is a problem of a lane, with its fix.
type Problem struct {
	State, Reason string
	Since         time.Time
	// Fix is what to do, in a sentence. A command in it is between backquotes.
	Fix string
}

// Totals count what a worker did in a lane since it started.
type Totals struct {
	Calls   uint64            // that ended
	Results map[string]uint64 // by outcome
	// Latency counts calls by their duration; each bucket alone. The buckets are the
	// same each time, shortest first.
	Latency []Bucket
}

// Bucket counts the calls that took no longer than UpTo, and longer than the bucket before.
type Bucket struct {
	UpTo  time.Duration
	Count uint64
}

// Stream is how full a stream is.
type Stream struct {
	Name            string
	Messages, Bytes uint64
	MaxBytes        int64 // 0: no limit
}

// Attention lists the requests that may need an operator.
type Attention struct {
	Failed  []Entry // newest first
	Overdue []Entry // oldest first
	// Unread is what could not be read, and why.
	Unread []string
}

// Entry is one request.
type Entry struct {
	ID, Target string
	At         time.Time // when it failed, or was due
	Reason     string    // code and message, or what it waits for
}

// Answer is the result of a search.
type Answer struct {
	Stories []Story // usually one
	Missing string  // why there is none
}

// Story is one request's life, in the words of `lethe show`.
type Story struct {
	ID, Target, Resource, Source, TraceID string
	State                                 string
	Sentence                              string
	Earlier                               int // lines that are left out at the beginning
	Lines                                 []Line
}

// Line is one event of a request's life.
type Line struct {
	Time       time.Time
	What, Text string
}

// Page serves the page.
type Page struct {
	source Source
	access Access
	now    func() time.Time

	history   history
	attention cached[Attention]

	mu        sync.Mutex
	searching sync.Mutex
	answers   map[string]*cached[Answer] // of the newest searches, by id
}

// New returns a page.
func New(source Source, access Access) *Page {
	return &Page{source: source, access: access, now: time.Now, answers: map[string]*cached[Answer]{}}
}

// Record keeps the last hour for the charts until ctx ends.
func (p *Page) Record(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		p.history.add(p.now(), p.source.Situation())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
