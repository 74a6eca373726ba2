package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// storedResult is a result with its position in the stream.
type storedResult struct {
	events.Result
	body   []byte
	seq    uint64
	stored time.Time
	header nats.Header
}

// names reports whether the result is about the resource with this fingerprint.
func (r *storedResult) names(fingerprint string) bool {
	return r.Resource != nil && events.Fingerprint(r.Resource) == fingerprint
}

// resultReader reads results from DELETION_RESULTS.
type resultReader struct {
	js jetstream.JetStream
	// lookups ends when the server denies readResults, without which a result hidden by
	// the client library is not found. nil: it is not denied.
	lookups context.Context
	// warn receives one warning if a message was skipped that no worker wrote.
	warn   io.Writer
	warned sync.Once
}

// read returns the result in a message, or false if no worker wrote the message. Any
// client with the permission to publish can store such a message.
func (l *resultReader) read(subject string, header nats.Header, body []byte, seq uint64, stored time.Time) (*storedResult, bool) {
	if ledger.WroteResult(header) {
		r, err := events.ReadResult(header, body)
		if err == nil && events.ResultSubject(r.Target, r.RequestID, r.Outcome) == subject {
			return &storedResult{r, body, seq, stored, header}, true
		}
	}
	l.warned.Do(func() {
		_, _ = fmt.Fprintf(l.warn, "lethe: message %d of %s was not written by a worker; such messages are skipped\n", seq, events.StreamResults)
	})
	return nil, false
}

// selection selects the results to read.
type selection struct {
	subject string
	since   time.Duration // maximum age, 0: all
	from    uint64        // the first sequence if since is 0; 0: the beginning
	follow  bool
}

// each calls do for every stored result of the selection, oldest first, and with
// follow for every new one, until do returns false. Its memory does not grow with
// the number of results.
func (l *resultReader) each(ctx context.Context, of selection, do func(*storedResult) (more bool, err error)) error {
	config := jetstream.OrderedConsumerConfig{}
	switch {
	case of.since > 0:
		start := time.Now().Add(-of.since)
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	case of.from > 0:
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, of.from
	}
	messages, err := l.open(ctx, of.subject, config)
	if err != nil {
		return err
	}
	defer messages.stop()
	for messages.left > 0 || of.follow {
		msg, meta, err := messages.next(ctx, of.follow)
		if err != nil || msg == nil {
			return err
		}
		more := true
		if result, ok := l.read(msg.Subject(), msg.Headers(), msg.Data(), meta.Sequence.Stream, meta.Timestamp); ok {
			if more, err = do(result); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
	return nil
}

// readError returns why results cannot be read.
func readError(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("stream %s is missing; `lethe setup` creates it", events.StreamResults)
	}
	return fmt.Errorf("read %s: %w", events.StreamResults, err)
}

// newest returns the newest result of a request, nil if it has none.
func (l *resultReader) newest(ctx context.Context, target events.Target, id string) (*storedResult, error) {
	stream, err := l.js.Stream(ctx, events.StreamResults)
	if err != nil {
		return nil, readError(err)
	}
	return l.newestOn(ctx, stream, target, id)
}

func (l *resultReader) newestOn(ctx context.Context, stream jetstream.Stream, target events.Target, id string) (*storedResult, error) {
	subject := events.ResultFilter(target, id, "")
	msg, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the newest result of %s: %w", id, err)
	}
	if result, ok := l.read(msg.Subject, msg.Header, msg.Data, msg.Sequence, msg.Time); ok {
		return result, nil
	}
	// An earlier message may be from a worker.
	var newest *storedResult
	err = l.each(ctx, selection{subject: subject}, func(r *storedResult) (bool, error) {
		newest = r
		return true, nil
	})
	return newest, err
}
