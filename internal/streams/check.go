package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// Problem is a setting of a stream, a consumer or the server that breaks a promise.
type Problem struct {
	Stream   string // "" when it is the server's own setting
	Consumer string // "" when it is the stream's own setting
	Setting  string
	Why      string // and how to fix it
	// MissingBeside says that a stream is missing although others are there, so
	// that what it held may be lost. A worker waits for `lethe setup` then.
	MissingBeside bool
}

func (p *Problem) Error() string {
	of := "server"
	if p.Stream != "" {
		of = "stream " + p.Stream
	}
	if p.Consumer != "" {
		of += ", consumer " + p.Consumer
	}
	return fmt.Sprintf("%s: %s: %s", of, p.Setting, p.Why)
}

// minPayload is what the largest result or schedule needs: an event of 64 KiB
// with 32 KiB of headers, and ours.
const minPayload = 256 << 10

// Check looks whether the streams, and the consumers of the given targets, are
// as they must be. resultsMinAge is that of [Settings]. It returns a [*Problem]
// for a setting that breaks a promise, and another error where it could not look.
func Check(ctx context.Context, js jetstream.JetStream, resultsMinAge time.Duration, targets ...events.Target) error {
	found, err := Inspect(ctx, js, targets...)
	if err != nil {
		return err
	}
	return found.Check(resultsMinAge)
}

// Inspection is what the server says about the streams and about the consumers
// of some targets. What is missing has no entry.
type Inspection struct {
	payload   int64
	targets   []events.Target
	Streams   map[string]*jetstream.StreamInfo
	consumers map[consumerName]*jetstream.ConsumerInfo
}

type consumerName struct {
	stream string
	target events.Target
}

// streamNames are the streams that Lethe needs, in the order they are created in.
func streamNames() []string {
	return []string{events.StreamRequests, events.StreamResults, events.StreamLater}
}

// consumerNames are the consumers of some targets.
func consumerNames(targets ...events.Target) (names []consumerName) {
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		for _, target := range targets {
			names = append(names, consumerName{stream, target})
		}
	}
	return names
}

// Inspect asks the server for the streams and for the consumers of some targets. It
// fails where it could not ask; what is missing is no error.
func Inspect(ctx context.Context, js jetstream.JetStream, targets ...events.Target) (*Inspection, error) {
	i := &Inspection{
		payload: js.Conn().MaxPayload(), targets: targets,
		Streams: map[string]*jetstream.StreamInfo{}, consumers: map[consumerName]*jetstream.ConsumerInfo{},
	}
	for _, name := range streamNames() {
		stream, err := js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", name, err)
		}
		i.Streams[name] = stream.CachedInfo()
	}
	for _, name := range consumerNames(targets...) {
		if i.Streams[name.stream] == nil {
			continue
		}
		consumer, err := js.Consumer(ctx, name.stream, string(name.target))
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("consumer %s of %s: %w", name.target, name.stream, err)
		}
		i.consumers[name] = consumer.CachedInfo()
	}
	return i, nil
}

// missing are the streams that do not exist.
func (i *Inspection) missing() (names []string) {
	for _, name := range streamNames() {
		if i.Streams[name] == nil {
			names = append(names, name)
		}
	}
	return names
}

// AckWait is the shortest ack_wait of the consumers, 0 if there is none.
func (i *Inspection) AckWait() (shortest time.Duration) {
	for _, info := range i.consumers {
		if shortest == 0 || info.Config.AckWait < shortest {
			shortest = info.Config.AckWait
		}
	}
	return shortest
}

// lostWith is what was lost together with a stream.
var lostWith = map[string]string{
	events.StreamRequests: "requests that waited in it may be lost",
	events.StreamResults:  "results and recorded attempts may be lost, so a repeated request may get a second result",
	events.StreamLater:    "retries and confirmations that waited in it may be lost, and their requests with them",
}

// Check returns a [*Problem] for the first setting that breaks a promise, nil if there
// is none. resultsMinAge is that of [Settings].
func (i *Inspection) Check(resultsMinAge time.Duration) error {
	if i.payload < minPayload {
		return &Problem{Setting: fmt.Sprintf("max_payload %d", i.payload), Why: fmt.Sprintf("results and retries would not fit; it must be at least %d bytes", minPayload)}
	}
	if missing := i.missing(); len(missing) > 0 {
		p := &Problem{Stream: missing[0], Setting: "missing", Why: "`lethe setup` creates it"}
		if p.MissingBeside = len(missing) < len(streamNames()); p.MissingBeside {
			p.Why = lostWith[p.Stream] + "; `lethe setup` creates it again"
		}
		return p
	}
	for _, name := range streamNames() {
		if err := checkStream(i.Streams[name].Config); err != nil {
			return err
		}
	}
	if err := checkResultsAge(i.Streams[events.StreamResults].Config, resultsMinAge); err != nil {
		return err
	}
	for _, name := range consumerNames(i.targets...) {
		if err := checkConsumer(name, i.consumers[name]); err != nil {
			return err
		}
	}
	return nil
}

// checkConsumer refuses what could keep a message from the worker, or give it
// to two. info is nil if the consumer does not exist.
func checkConsumer(name consumerName, info *jetstream.ConsumerInfo) error {
	problem := func(setting, why string) error {
		return &Problem{Stream: name.stream, Consumer: string(name.target), Setting: setting, Why: why}
	}
	if info == nil {
		return problem("missing", "its messages wait in the stream; `lethe setup` creates it")
	}
	have, want := info.Config, LaneConsumer(name.stream, name.target)
	switch {
	case info.Paused:
		return problem("paused", "nothing is delivered; `nats consumer resume "+name.stream+" "+string(name.target)+"` ends it")
	case have.MaxDeliver > 0:
		return problem(fmt.Sprintf("max_deliver %d", have.MaxDeliver), "a message that was delivered that often would never come again; it must be -1")
	case have.AckPolicy != jetstream.AckExplicitPolicy:
		return problem("ack_policy "+have.AckPolicy.String(), "it must be explicit: each message is acknowledged after its own result")
	case have.FilterSubject != want.FilterSubject || len(have.FilterSubjects) > 0:
		return problem("filter_subject", "it must be "+want.FilterSubject)
	case have.DeliverPolicy != jetstream.DeliverAllPolicy:
		return problem("deliver_policy "+have.DeliverPolicy.String(), "older messages would never be delivered; delete the consumer, and `lethe setup` creates it with all")
	case have.HeadersOnly:
		return problem("headers_only", "the worker would see every request without its body; it must be false")
	case have.ReplayPolicy != jetstream.ReplayInstantPolicy:
		return problem("replay_policy "+have.ReplayPolicy.String(), "requests would wait without a reason; it must be instant")
	case len(have.BackOff) > 0:
		return problem("backoff", "it would shorten ack_wait; it must be empty")
	case len(have.PriorityGroups) > 0 || have.PriorityPolicy != jetstream.PriorityPolicyNone:
		return problem("priority_groups", "the worker's pulls would be refused; there must be none")
	case have.MaxRequestBatch > 0 || have.MaxRequestExpires > 0 || have.MaxRequestMaxBytes > 0:
		return problem("max_batch, max_expires or max_bytes", "the worker's pulls would be refused; they must not be set")
	case have.DeliverSubject != "":
		return problem("deliver_subject", "the worker pulls; it must have none")
	case have.AckWait < MinAckWait:
		return problem("ack_wait "+have.AckWait.String(), "a message in work would be delivered to another worker; it must be at least "+MinAckWait.String())
	case have.InactiveThreshold > 0:
		return problem("inactive_threshold "+have.InactiveThreshold.String(), "the consumer would vanish while no worker runs; it must be 0")
	case have.MaxAckPending > 0 && have.MaxAckPending < 2:
		return problem("max_ack_pending", "a lane could stand still behind one message; it must be -1")
	}
	return nil
}
