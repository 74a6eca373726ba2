package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// awaited are requests whose final results are waited for.
type awaited struct {
	js       jetstream.JetStream
	messages jetstream.MessagesContext
	open     map[string]publication // by the id that a result may bear
	total    int
}

// awaitResults begins to listen, before anything is published.
func awaitResults(ctx context.Context, js jetstream.JetStream, target events.Target) (*awaited, error) {
	consumer, err := js.OrderedConsumer(ctx, events.StreamResults, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{events.ResultFilter(target, "", "")}, DeliverPolicy: jetstream.DeliverNewPolicy,
	})
	if err != nil {
		return nil, fmt.Errorf("wait for results: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("wait for results: %w", err)
	}
	return &awaited{js: js, messages: messages, open: map[string]publication{}}, nil
}

func (a *awaited) stop() { a.messages.Stop() }

// expect adds a request. A refused one is answered under its sequence.
func (a *awaited) expect(p publication) {
	a.open[p.ID] = p
	a.total++
}

// print calls show for the results until every request has its final one, and
// fails if the time runs out, or if one of them is failed or invalid.
func (a *awaited) print(ctx context.Context, timeout time.Duration, show func([]byte, events.Result) error) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	bad := 0
	take := func(header map[string][]string, body []byte) error {
		r, err := events.ReadResult(header, body)
		if err != nil {
			return nil // somebody else's trouble
		}
		p, mine := a.find(r)
		if !mine {
			return nil
		}
		if r.Outcome.Final() {
			delete(a.open, p.ID)
		}
		if r.Outcome == events.Failed || r.Outcome == events.Invalid {
			bad++
		}
		return show(body, r)
	}
	if err := a.earlier(bounded, take); err != nil {
		return err
	}
	for len(a.open) > 0 {
		msg, err := a.messages.Next(jetstream.NextContext(bounded))
		if bounded.Err() != nil {
			return errMissing{len(a.open), a.total}
		}
		if err != nil {
			return fmt.Errorf("wait for results: %w", err)
		}
		if err := take(msg.Headers(), msg.Data()); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d requests are failed or invalid", bad, a.total)
	}
	return nil
}

// find tells whose result r is: a request's own, or that of a reused id.
func (a *awaited) find(r events.Result) (publication, bool) {
	if p, ok := a.open[r.RequestID]; ok && p.Target == r.Target {
		return p, true
	}
	for _, p := range a.open {
		if events.SequenceID(p.Sequence) == r.RequestID && p.Target == r.Target {
			return p, true
		}
	}
	return publication{}, false
}

// earlier takes the results that are there already: of requests that were
// published and answered before, for which no new one will come.
func (a *awaited) earlier(ctx context.Context, take func(map[string][]string, []byte) error) error {
	stream, err := a.js.Stream(ctx, events.StreamResults)
	if err != nil {
		return fmt.Errorf("wait for results: %w", err)
	}
	for _, p := range a.open {
		msg, err := stream.GetLastMsgForSubject(ctx, events.ResultFilter(p.Target, p.ID, ""))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for results: %w", err)
		}
		if err := take(msg.Header, msg.Data); err != nil {
			return err
		}
	}
	return nil
}
