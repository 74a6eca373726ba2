package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

var noContext = context.Background() // extracting a trace id needs one

// Reader reads what is stored of requests. It asks the leaders of the streams with
// STREAM.MSG.GET and STREAM.INFO, which every worker may ask of DELETION_RESULTS and
// DELETION_LATER.
type Reader struct {
	JS jetstream.JetStream
	// Messages lets it read DELETION_REQUESTS too. With the accounts of deploy/nats, a
	// worker has no permission for that and must not try: the refusal would stop it.
	Messages bool

	mu      sync.Mutex
	missing []string
}

// Missing returns the streams that earlier reads found missing. They were read like
// empty streams, so that the rest of a request can still be shown.
func (r *Reader) Missing() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.missing)
}

// orMissing returns err, or nil if it means that the stream is missing, which it notes.
func (r *Reader) orMissing(stream string, err error) error {
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.missing, stream) {
		r.missing = append(r.missing, stream)
	}
	return nil
}

// lastMessage is [streams.LastMessage]; a missing stream has no message.
func (r *Reader) lastMessage(ctx context.Context, stream, subject string) (*streams.Message, error) {
	msg, err := streams.LastMessage(ctx, r.JS, stream, subject)
	return msg, r.orMissing(stream, err)
}

// nextMessage is [streams.NextMessage]; a missing stream has no message.
func (r *Reader) nextMessage(ctx context.Context, stream, subject string, from uint64) (*streams.Message, error) {
	msg, err := streams.NextMessage(ctx, r.JS, stream, subject, from)
	return msg, r.orMissing(stream, err)
}

// maxForeign is how many messages are read forward if no worker wrote the last message of
// a request.
const maxForeign = 10 * MaxRecords

// consistentTries is how often a request is read again because it moved while it was read.
const consistentTries = 3

// Read returns what is stored of a request. A request of which nothing is stored is
// returned too, with the stage [Unknown].
func (r *Reader) Read(ctx context.Context, target events.Target, id string) (*Request, error) {
	for try := 1; ; try++ {
		q, err := r.read(ctx, target, id)
		if err != nil || try == consistentTries {
			return q, err
		}
		now, err := r.lastMessage(ctx, events.StreamResults, ledger.Filter(target, id))
		if err != nil {
			return nil, err
		}
		if last := q.last(); now == nil && last == nil || now != nil && last != nil && now.Seq == last.Seq {
			return q, nil
		}
	}
}

func (r *Reader) read(ctx context.Context, target events.Target, id string) (*Request, error) {
	q := &Request{ID: id, Target: target}
	if err := r.readRecords(ctx, q); err != nil {
		return nil, err
	}
	if err := r.readNext(ctx, q); err != nil {
		return nil, err
	}
	if last := q.last(); r.Messages && last != nil && !last.Outcome.Final() && last.Progress.RequestSeq > 0 {
		if err := r.readMessage(ctx, q, last.Progress.RequestSeq); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// readRecords reads the last records of a request. Each names the one before it, so that
// they are read backward.
func (r *Reader) readRecords(ctx context.Context, q *Request) error {
	filter := ledger.Filter(q.Target, q.ID)
	msg, err := r.lastMessage(ctx, events.StreamResults, filter)
	for err == nil && msg != nil {
		record, foreign := readRecord(msg)
		if foreign != nil {
			return r.readForward(ctx, q)
		}
		q.add(record)
		if record.follows == 0 || len(q.Records) == MaxRecords {
			break
		}
		msg, err = r.nextMessage(ctx, events.StreamResults, filter, record.follows)
		if msg != nil && msg.Seq != record.follows {
			break // the earlier ones expired
		}
	}
	if err != nil {
		return err
	}
	slices.Reverse(q.Records)
	if len(q.Records) == MaxRecords && q.Records[0].follows != 0 {
		return r.countEarlier(ctx, q)
	}
	return nil
}

// readForward reads the records of a request whose last message no worker wrote. Such a
// message does not name the record before it.
func (r *Reader) readForward(ctx context.Context, q *Request) error {
	q.Records = nil
	filter, next := ledger.Filter(q.Target, q.ID), uint64(1)
	for range maxForeign {
		msg, err := r.nextMessage(ctx, events.StreamResults, filter, next)
		if err != nil {
			return err
		}
		if msg == nil {
			q.Earlier = max(0, len(q.Records)-MaxRecords)
			q.Records = q.Records[q.Earlier:]
			return nil
		}
		next = msg.Seq + 1
		if record, foreign := readRecord(msg); foreign == nil {
			q.add(record)
		}
	}
	return fmt.Errorf("%s has more than %d messages in %s, and no worker wrote the last one; they cannot be read", q.ID, maxForeign, events.StreamResults)
}

// add appends a record, and takes the resource and the source from it.
func (q *Request) add(r *Record) {
	q.Records = append(q.Records, *r)
	if q.Resource == nil && r.Result != nil {
		q.Resource, q.Source = r.Result.Resource, r.Result.RequestSource
	}
}

// countEarlier counts the records before those that were read.
func (r *Reader) countEarlier(ctx context.Context, q *Request) error {
	filter := ledger.Filter(q.Target, q.ID)
	counts, err := r.counts(ctx, events.StreamResults, filter)
	if err != nil {
		return err
	}
	for _, n := range counts {
		q.Earlier += int(n)
	}
	q.Earlier = max(0, q.Earlier-len(q.Records))
	return nil
}

// counts returns how many messages a stream has on each subject of a filter.
func (r *Reader) counts(ctx context.Context, name, filter string) (map[string]uint64, error) {
	stream, err := r.JS.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, r.orMissing(name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return info.State.Subjects, nil
}

func readRecord(msg *streams.Message) (*Record, error) {
	record, err := ledger.ReadRecord(msg)
	if err != nil {
		return nil, err
	}
	r := &Record{Record: *record, TraceID: traceID(msg.Header, events.Request{}), follows: ledger.Expected(msg.Header)}
	if r.Outcome != "" {
		result, err := events.ReadResult(msg.Header, msg.Data)
		if err != nil {
			return nil, err
		}
		r.Result = &result
	}
	return r, nil
}

func (r *Reader) readNext(ctx context.Context, q *Request) error {
	msg, err := r.lastMessage(ctx, events.StreamLater, events.LaterSubject(q.Target, q.ID))
	if err != nil || msg == nil {
		return err
	}
	progress, foreign := ledger.StrictProgress(msg.Header)
	if at := ledger.ScheduledAt(msg.Header); foreign == nil && !at.IsZero() { // a worker wrote it
		event, _ := events.ReadRequest(q.Target, msg.Header, msg.Data)
		q.Next = &Next{At: at, Progress: progress, TraceID: traceID(msg.Header, event)}
		q.learn(event)
	}
	return nil
}

// learn adds the resource and the source if they are not known.
func (q *Request) learn(event events.Request) {
	if q.Resource == nil && event.Resource != nil {
		q.Resource, q.Source = event.Resource, event.Source
	}
}

// readMessage reads the request's own message, if it is not acknowledged yet.
func (r *Reader) readMessage(ctx context.Context, q *Request, seq uint64) error {
	msg, err := r.nextMessage(ctx, events.StreamRequests, events.RequestSubject(q.Target), seq)
	if err != nil || msg == nil || msg.Seq != seq {
		return err
	}
	event, invalid := events.ReadRequest(q.Target, msg.Header, msg.Data)
	if event.ID != q.ID {
		return nil // of a stream that was created again
	}
	return r.addMessage(ctx, q, events.StreamRequests, msg, event, invalid)
}

// addMessage adds a message to its request.
func (r *Reader) addMessage(ctx context.Context, q *Request, stream string, msg *streams.Message, event events.Request, invalid error) error {
	delivered, err := r.delivered(ctx, stream, q.Target)
	if err != nil {
		return err
	}
	q.Message = &Message{
		Stream: stream, Seq: msg.Seq, StoredAt: msg.Time, Taken: msg.Seq <= delivered, Ahead: -1, Invalid: invalid,
		TraceID: traceID(msg.Header, event), delivered: delivered,
	}
	if stream == events.StreamRequests {
		q.Message.replays = ledger.Expected(msg.Header)
	}
	q.learn(event)
	return nil
}

// delivered is the last sequence of a stream that was delivered to a target's lane, 0 if
// the lane has no consumer.
func (r *Reader) delivered(ctx context.Context, stream string, target events.Target) (uint64, error) {
	consumer, err := r.JS.Consumer(ctx, stream, string(target))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("consumer %s of %s: %w", target, stream, err)
	}
	return consumer.CachedInfo().Delivered.Stream, nil
}
