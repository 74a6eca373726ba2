package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// awaited waits for the final results of requests.
type awaited struct {
	*resultReader
	messages *openMessages
	open     map[awaitedName][]*publication // by the ids that a result may have
	left     int
	total    int
	bad      int
	show     func(r *storedResult, before bool) error
}

// awaitedName is the id of a request, or the id derived from its sequence.
type awaitedName struct {
	target events.Target
	id     string
}

// awaitResults starts to listen for results. Call it before publishing.
func awaitResults(ctx context.Context, l *resultReader, target events.Target, show func(r *storedResult, before bool) error) (*awaited, error) {
	messages, err := l.open(ctx, events.ResultFilter(target, "", ""), jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return nil, err
	}
	return &awaited{resultReader: l, messages: messages, open: map[awaitedName][]*publication{}, show: show}, nil
}

func (a *awaited) stop() { a.messages.stop() }

// expect adds a request. It prints an earlier result immediately, because no other
// will follow.
func (a *awaited) expect(ctx context.Context, p publication) error {
	a.total++
	before := p.before
	if before == nil && p.Duplicate {
		// The first publish may have a result under its sequence.
		var err error
		if before, err = a.newest(ctx, p.Target, events.SequenceID(p.Sequence)); err != nil {
			return err
		}
		if before != nil && !before.names(p.fingerprint) {
			before = nil
		}
	}
	if before != nil && before.Outcome.Final() {
		return a.print(before, true)
	}
	a.left++
	for _, id := range []string{p.ID, events.SequenceID(p.Sequence)} {
		name := awaitedName{p.Target, id}
		a.open[name] = append(a.open[name], &p)
	}
	if before != nil {
		return a.print(before, true)
	}
	return nil
}

func (a *awaited) print(r *storedResult, before bool) error {
	if r.Outcome == events.Failed || r.Outcome == events.Invalid {
		a.bad++
	}
	return a.show(r, before)
}

// wait prints results until every request has its final one. It returns an error after
// the timeout, or if one of them is failed or invalid.
func (a *awaited) wait(ctx context.Context, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for a.left > 0 {
		msg, meta, err := a.messages.next(bounded, true)
		if ctx.Err() != nil {
			return fmt.Errorf("%w; %w", errInterrupted, errMissing{a.left, a.total})
		}
		if bounded.Err() != nil {
			return errMissing{a.left, a.total}
		}
		if err != nil {
			return fmt.Errorf("wait for results: %w", err)
		}
		r, ok := a.read(msg.Subject(), msg.Headers(), msg.Data(), meta.Sequence.Stream, meta.Timestamp)
		if !ok {
			continue
		}
		if err := a.handle(r); err != nil {
			return err
		}
	}
	if a.bad > 0 {
		return fmt.Errorf("%d of %d requests are failed or invalid", a.bad, a.total)
	}
	return nil
}

// handle prints a result if a request waits for it.
func (a *awaited) handle(r *storedResult) error {
	found := a.find(r)
	if len(found) == 0 {
		return nil
	}
	if r.Outcome.Final() {
		for _, p := range found {
			a.left--
			a.forget(awaitedName{p.Target, p.ID}, p)
			a.forget(awaitedName{p.Target, events.SequenceID(p.Sequence)}, p)
		}
	}
	return a.print(r, false)
}

// find returns the requests that r answers, by id or by sequence. Requests for
// different resources may have the same id, and one request may have been published
// twice.
func (a *awaited) find(r *storedResult) (found []*publication) {
	numbered := sequenceName.FindString(r.RequestID)
	for _, p := range a.open[awaitedName{r.Target, cmp.Or(numbered, r.RequestID)}] {
		if r.names(p.fingerprint) || numbered != "" && r.Resource == nil {
			found = append(found, p)
		}
	}
	return found
}

// sequenceName matches an id derived from a sequence. It has a suffix if the plain one
// was already used.
var sequenceName = regexp.MustCompile(`^seq-[0-9]+`)

func (a *awaited) forget(name awaitedName, p *publication) {
	rest := slices.DeleteFunc(slices.Clone(a.open[name]), func(other *publication) bool { return other == p })
	if a.open[name] = rest; len(rest) == 0 {
		delete(a.open, name)
	}
}

// errMissing means that results did not arrive in time.
type errMissing struct{ missing, of int }

func (e errMissing) Error() string {
	return fmt.Sprintf("%d of %d requests have no final result yet", e.missing, e.of)
}

var errNothingNew = errors.New("nothing new to publish: every request was published or answered before; " +
	"if this is intended, set --batch")
