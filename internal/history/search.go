package history

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// MaxSearched is how many waiting messages are searched for a request without records,
// the oldest of each stream.
const MaxSearched = 10_000

// Search is how far a request was searched for.
type Search struct {
	Searched int // messages that were read
	Waiting  int // messages that waited, those included
}

// Find returns the requests that have an id, at most one for each of the targets. If none
// has a record or a schedule, it searches the messages that wait.
func (r *Reader) Find(ctx context.Context, id string, targets ...events.Target) ([]*Request, Search, error) {
	found, err := r.stored(ctx, id, targets)
	if err != nil || len(found) > 0 {
		for _, q := range found {
			err = errors.Join(err, r.findDue(ctx, q))
		}
		return found, Search{}, err
	}
	var all Search
	for _, target := range targets {
		q, searched, err := r.search(ctx, id, target)
		if err != nil {
			return nil, Search{}, err
		}
		all.Searched, all.Waiting = all.Searched+searched.Searched, all.Waiting+searched.Waiting
		if q != nil {
			found = append(found, q)
		}
	}
	if len(found) == 0 { // it may have been answered during the search
		found, err = r.stored(ctx, id, targets)
	}
	return found, all, err
}

// stored returns the requests with an id that have a record or a schedule.
func (r *Reader) stored(ctx context.Context, id string, targets []events.Target) (found []*Request, err error) {
	for _, target := range targets {
		q, err := r.Read(ctx, target, id)
		if err != nil {
			return nil, err
		}
		if !q.found() {
			continue
		}
		found = append(found, q)
	}
	return found, nil
}

// FindSequence returns the request in a message of DELETION_REQUESTS, with its own id if
// that can be read, else with [events.SequenceID]. Of a message that is acknowledged it
// finds the answer that is stored under its sequence. It returns nil if there is neither.
func (r *Reader) FindSequence(ctx context.Context, seq uint64, targets ...events.Target) ([]*Request, error) {
	for _, target := range targets {
		msg, err := r.nextMessage(ctx, events.StreamRequests, events.RequestSubject(target), seq)
		if err != nil {
			return nil, err
		}
		if msg == nil || msg.Seq != seq {
			continue
		}
		event, invalid := events.ReadRequest(target, msg.Header, msg.Data)
		id := event.ID
		if id == "" {
			id = events.SequenceID(seq)
		}
		q, err := r.Read(ctx, target, id)
		if err != nil {
			return nil, err
		}
		if err := r.addMessage(ctx, q, events.StreamRequests, msg, event, invalid); err != nil {
			return nil, err
		}
		return []*Request{q}, nil
	}
	return r.stored(ctx, events.SequenceID(seq), targets)
}

// Sequence is the sequence that an id of [events.SequenceID] names.
func Sequence(id string) (seq uint64, ok bool) {
	digits, ok := strings.CutPrefix(id, "seq-")
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, ok && err == nil && events.SequenceID(seq) == id
}

// findDue searches the message of a request whose next attempt is due. The message has the
// resource, and the time since which the attempt is due.
func (r *Reader) findDue(ctx context.Context, q *Request) error {
	last := q.last()
	if last == nil || last.Outcome.Final() || last.Lease > 0 || q.Next != nil || q.Message != nil {
		return nil
	}
	s := r.sweep(events.StreamLater, q.ID, q.Target)
	if err := s.run(ctx); err != nil || s.found == nil {
		return err
	}
	return r.addMessage(ctx, q, s.stream, s.found, s.event, s.invalid)
}

// search searches for a request in the messages of a target that wait: those that were never
// answered, and those that are due.
func (r *Reader) search(ctx context.Context, id string, target events.Target) (found *Request, all Search, err error) {
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		s := r.sweep(stream, id, target)
		counts, err := r.counts(ctx, stream, s.subject)
		if err != nil {
			return nil, all, err
		}
		waiting := int(counts[s.subject])
		all.Waiting += waiting
		if waiting == 0 || stream == events.StreamRequests && !r.Messages {
			continue
		}
		if err := s.run(ctx); err != nil {
			return nil, all, err
		}
		all.Searched += len(s.seqs)
		all.Waiting = max(all.Waiting, all.Searched)
		if s.found == nil {
			continue
		}
		found = &Request{ID: id, Target: target}
		if err := r.addMessage(ctx, found, stream, s.found, s.event, s.invalid); err != nil {
			return nil, all, err
		}
		if stream == events.StreamRequests {
			found.Message.Ahead = s.between(found.Message.delivered, s.found.Seq)
		}
		return found, all, nil
	}
	return nil, all, nil
}

const (
	sweepers   = 16 // reads at the same time
	sweepChunk = 64 // sequences that one of them reads before it asks for more
)

// sweep reads the oldest messages on a subject. The server answers for one message at a
// time, so several read at the same time, each a piece of the stream.
type sweep struct {
	reader          *Reader
	stream, subject string
	target          events.Target
	id              string

	mu      sync.Mutex
	next    uint64   // the first sequence that is not given out
	seqs    []uint64 // of the messages that were read
	done    bool
	found   *streams.Message // the oldest one with the id
	event   events.Request
	invalid error
}

func (r *Reader) sweep(stream, id string, target events.Target) *sweep {
	subject := events.RequestSubject(target)
	if stream == events.StreamLater {
		subject = events.DueSubject(target)
	}
	return &sweep{reader: r, stream: stream, subject: subject, target: target, id: id, next: 1}
}

func (s *sweep) run(ctx context.Context) error {
	readers, ctx := errgroup.WithContext(ctx)
	for range sweepers {
		readers.Go(func() error {
			for {
				from, ok := s.piece()
				if !ok {
					return nil
				}
				if err := s.read(ctx, from); err != nil {
					return err
				}
			}
		})
	}
	return readers.Wait()
}

// piece gives out the next piece of the stream.
func (s *sweep) piece() (from uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || s.found != nil || len(s.seqs) >= MaxSearched {
		return 0, false
	}
	from = s.next
	s.next += sweepChunk
	return from, true
}

func (s *sweep) read(ctx context.Context, from uint64) error {
	for next := from; next < from+sweepChunk; {
		msg, err := s.reader.nextMessage(ctx, s.stream, s.subject, next)
		if err != nil {
			return err
		}
		if msg == nil || msg.Seq >= from+sweepChunk {
			s.nothingBefore(msg)
			return nil
		}
		next = msg.Seq + 1
		s.inspect(msg)
	}
	return nil
}

// nothingBefore skips the pieces without a message before msg, which is the next one; nil
// if there is none.
func (s *sweep) nothingBefore(msg *streams.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if msg == nil {
		s.done = true
		return
	}
	s.next = max(s.next, msg.Seq)
}

func (s *sweep) inspect(msg *streams.Message) {
	event, invalid := events.ReadRequest(s.target, msg.Header, msg.Data)
	if invalid != nil && event.ID == "" && s.stream == events.StreamRequests {
		event.ID = events.SequenceID(msg.Seq)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seqs = append(s.seqs, msg.Seq)
	if event.ID == s.id && (s.found == nil || msg.Seq < s.found.Seq) {
		s.found, s.event, s.invalid = msg, event, invalid
	}
}

// between counts the messages that were read after one sequence and before another.
func (s *sweep) between(after, before uint64) (n int) {
	for _, seq := range s.seqs {
		if seq > after && seq < before {
			n++
		}
	}
	return n
}
