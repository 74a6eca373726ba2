package main

import (
	"cmp"
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// openMessages is a running read of DELETION_RESULTS.
type openMessages struct {
	messages jetstream.MessagesContext
	reader   *resultReader
	subject  string
	after    uint64 // the last sequence that was read, or passed over
	left     uint64 // how many messages were stored behind it
	close    func()
}

// open starts to read the messages of a subject.
func (l *resultReader) open(ctx context.Context, subject string, config jetstream.OrderedConsumerConfig) (*openMessages, error) {
	config.FilterSubjects, config.InactiveThreshold = []string{subject}, time.Minute
	cons, err := l.js.OrderedConsumer(ctx, events.StreamResults, config)
	if err != nil {
		return nil, readError(err)
	}
	remove := func() {
		// Otherwise it would stay on the server until it is inactive for a minute.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if info := cons.CachedInfo(); info != nil {
			_ = l.js.DeleteConsumer(ctx, events.StreamResults, info.Name)
		}
	}
	info, err := cons.Info(ctx)
	if err == nil {
		var messages jetstream.MessagesContext
		if messages, err = cons.Messages(); err == nil {
			return &openMessages{messages: messages, reader: l, subject: subject, after: info.Delivered.Stream, left: info.NumPending,
				close: func() { messages.Stop(); remove() }}, nil
		}
	}
	remove()
	return nil, readError(err)
}

func (m *openMessages) stop() { m.close() }

// readResults is the API subject on which next looks for hidden messages.
const readResults = "$JS.API.STREAM.MSG.GET." + events.StreamResults

// stuckAfter is how long no message comes until next looks for a hidden one.
const stuckAfter = time.Second

// next waits for the next message. Without follow, it returns nil after the last one.
func (m *openMessages) next(ctx context.Context, follow bool) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	for {
		short, cancel := context.WithTimeout(ctx, stuckAfter)
		msg, err := m.messages.Next(jetstream.NextContext(short))
		stuck := err != nil && short.Err() != nil && ctx.Err() == nil
		cancel()
		if stuck {
			if err := m.passHidden(ctx); err != nil {
				return nil, nil, err
			}
			if m.left == 0 && !follow {
				return nil, nil, nil
			}
			continue
		}
		if err != nil {
			return nil, nil, readError(err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, nil, readError(err)
		}
		m.after, m.left = meta.Sequence.Stream, meta.NumPending
		return msg, meta, nil
	}
}

// passHidden continues after messages that the client library hides. A stored message with
// a Status header and no body looks to the library like one of the server's own, so it waits
// or restarts without end. No worker writes such a message.
func (m *openMessages) passHidden(ctx context.Context) error {
	lookups := cmp.Or(m.reader.lookups, ctx)
	hidden := m.after
	for lookups.Err() == nil {
		msg, err := streams.NextMessage(lookups, m.reader.js, events.StreamResults, m.subject, hidden+1) //nolint:contextcheck // it ends with ctx, or with the right to ask
		if err != nil || msg == nil || len(msg.Data) > 0 || msg.Header.Get("Status") == "" {
			break // an error too: a subscriber may lack the permission, and nothing may be hidden
		}
		m.reader.read(msg.Subject, msg.Header, msg.Data, msg.Seq, msg.Time)
		hidden = msg.Seq
	}
	if hidden == m.after {
		return nil
	}
	behind, err := m.reader.open(ctx, m.subject, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: hidden + 1})
	if err != nil {
		return err
	}
	m.stop()
	*m = *behind
	m.after = hidden
	return nil
}
