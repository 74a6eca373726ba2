package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// Problem is an unsafe setting of a stream, a consumer or the server.
type Problem struct {
	Stream   string // "" for a setting of the server
	Consumer string // "" for a setting of the server or the stream
	Setting  string
	Why      string // the reason and, after a semicolon, the fix; or the fix alone
	// MissingBeside is true if a stream is missing although others exist: its messages
	// may be lost. A worker then waits for `lethe setup`.
	MissingBeside bool
}

func (p *Problem) Error() string { return p.of() + ": " + p.Setting + ": " + p.Why }

// of names what the setting belongs to.
func (p *Problem) of() string {
	of := "server"
	if p.Stream != "" {
		of = "stream " + p.Stream
	}
	if p.Consumer != "" {
		of += ", consumer " + p.Consumer
	}
	return of
}

// Reason is the problem without the fix.
func (p *Problem) Reason() string {
	reason := p.of() + ": " + p.Setting
	if cause, _, both := strings.Cut(p.Why, "; "); both {
		reason += ": " + cause
	}
	return reason
}

// Fix is what to do, in one sentence.
func (p *Problem) Fix() string {
	fix := p.Why
	if _, after, both := strings.Cut(p.Why, "; "); both {
		fix = after
	}
	if strings.HasPrefix(fix, "`") {
		return fix
	}
	return "change this setting of the " + p.of() + ": " + fix
}

// minPayload is the size of the largest result or schedule, in bytes: an event of 64
// KiB with 32 KiB of headers, and Lethe's own headers.
const minPayload = 256 << 10

// Check checks the settings of the streams and of the consumers of the given targets.
// resultsMinAge is that of [Settings]. It returns a [*Problem] for an unsafe setting,
// and another error if the server could not be asked.
func Check(ctx context.Context, js jetstream.JetStream, resultsMinAge time.Duration, targets ...events.Target) error {
	found, err := Inspect(ctx, js, targets...)
	if err != nil {
		return err
	}
	return found.Check(resultsMinAge)
}

// Inspection is the server's information about the streams and about the consumers of
// some targets. A missing stream or consumer has no entry.
type Inspection struct {
	payload   int64
	targets   []events.Target
	Streams   map[string]*jetstream.StreamInfo
	consumers map[consumerName]*jetstream.ConsumerInfo
	unread    map[consumerName]error                    // of a stream, by an empty target
	scheduled map[events.Target]*jetstream.ConsumerInfo // the counters of scheduled requests
}

type consumerName struct {
	stream string
	target events.Target
}

// streamNames returns the streams that Lethe needs, in the order in which their
// problems are named.
func streamNames() []string {
	return []string{events.StreamRequests, events.StreamResults, events.StreamLater, Control}
}

// consumerNames returns the names of some targets' consumers.
func consumerNames(targets ...events.Target) (names []consumerName) {
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		for _, target := range targets {
			names = append(names, consumerName{stream, target})
		}
	}
	return names
}

// Inspect asks the server for the streams and for the consumers of some targets. A
// missing one is not an error.
func Inspect(ctx context.Context, js jetstream.JetStream, targets ...events.Target) (*Inspection, error) {
	i, unread := Survey(ctx, js, targets...)
	if len(unread) > 0 {
		return nil, unread[0]
	}
	return i, nil
}

// Survey is Inspect that returns what it could read, and an error for each stream and
// consumer that it could not.
func Survey(ctx context.Context, js jetstream.JetStream, targets ...events.Target) (*Inspection, []error) {
	i := &Inspection{
		payload: js.Conn().MaxPayload(), targets: targets, unread: map[consumerName]error{},
		Streams: map[string]*jetstream.StreamInfo{}, consumers: map[consumerName]*jetstream.ConsumerInfo{},
		scheduled: map[events.Target]*jetstream.ConsumerInfo{},
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	ask := func(name consumerName, read func() (store func(), err error)) {
		asking.Go(func() {
			store, err := read()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				i.unread[name] = err
			} else if store != nil {
				store()
			}
		})
	}
	for _, name := range streamNames() {
		ask(consumerName{stream: name}, func() (func(), error) {
			stream, err := js.Stream(ctx, name)
			switch {
			case errors.Is(err, jetstream.ErrStreamNotFound):
				return nil, nil
			case err != nil:
				return nil, fmt.Errorf("stream %s: %w", name, err)
			}
			return func() { i.Streams[name] = stream.CachedInfo() }, nil
		})
	}
	for _, name := range consumerNames(targets...) {
		ask(name, func() (func(), error) {
			info, err := consumerInfo(ctx, js, name.stream, string(name.target))
			if info == nil {
				return nil, notFound(err)
			}
			return func() { i.consumers[name] = info }, nil
		})
	}
	for _, target := range targets {
		counter := ScheduledCounter(target).Durable
		ask(consumerName{events.StreamLater, events.Target(counter)}, func() (func(), error) {
			info, err := consumerInfo(ctx, js, events.StreamLater, counter)
			return func() { i.scheduled[target] = info }, notFound(err)
		})
	}
	asking.Wait()
	return i, i.errors()
}

// notFound is nil if err means that a stream does not exist, else err.
func notFound(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

// errors are those of what could not be read, streams before consumers.
func (i *Inspection) errors() (all []error) {
	for _, name := range streamNames() {
		if err := i.unread[consumerName{stream: name}]; err != nil {
			all = append(all, err)
		}
	}
	for _, name := range consumerNames(i.targets...) {
		if err := i.unread[name]; err != nil {
			all = append(all, err)
		}
	}
	return all
}

// Consumer is the server's information about a target's consumer of a stream, nil if it
// is missing or could not be read.
func (i *Inspection) Consumer(stream string, target events.Target) *jetstream.ConsumerInfo {
	return i.consumers[consumerName{stream, target}]
}

// consumerInfo returns nil if the consumer does not exist.
func consumerInfo(ctx context.Context, js jetstream.JetStream, stream, name string) (*jetstream.ConsumerInfo, error) {
	consumer, err := js.Consumer(ctx, stream, name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("consumer %s of %s: %w", name, stream, err)
	}
	return consumer.CachedInfo(), nil
}

// missing returns the names of the streams that do not exist.
func (i *Inspection) missing() (names []string) {
	for _, name := range streamNames() {
		if i.Streams[name] == nil && i.unread[consumerName{stream: name}] == nil {
			names = append(names, name)
		}
	}
	return names
}

// AckWait returns the shortest ack_wait of the consumers, 0 if there is no consumer.
func (i *Inspection) AckWait() (shortest time.Duration) {
	for _, info := range i.consumers {
		if shortest == 0 || info.Config.AckWait < shortest {
			shortest = info.Config.AckWait
		}
	}
	return shortest
}

// lostWith describes what is lost with each stream.
var lostWith = map[string]string{
	Control:               "pauses of lanes are lost, and once it is there again the lanes run until they are paused again",
	events.StreamRequests: "requests that waited in it may be lost",
	events.StreamResults:  "results and recorded attempts may be lost, so a repeated request may get a second result",
	events.StreamLater:    "retries and confirmations that waited in it may be lost, and their requests with them",
}

// Check returns a [*Problem] for the first unsafe setting, nil if there is none. resultsMinAge is that of [Settings].
func (i *Inspection) Check(resultsMinAge time.Duration) error {
	if problems := i.Problems(resultsMinAge); len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// Problems returns the unsafe settings: of the server, else the missing streams, else
// the first of each stream and consumer.
func (i *Inspection) Problems(resultsMinAge time.Duration) (problems []*Problem) {
	if i.payload < minPayload {
		return []*Problem{{Setting: fmt.Sprintf("max_payload %d", i.payload), Why: fmt.Sprintf("results and retries would not fit; it must be at least %d bytes", minPayload)}}
	}
	if missing := i.missing(); len(missing) > 0 {
		for _, stream := range missing {
			p := &Problem{Stream: stream, Setting: "missing", Why: "`lethe setup` creates it"}
			if p.MissingBeside = len(missing) < len(streamNames()); p.MissingBeside && !i.olderThanControl() {
				p.Why = lostWith[p.Stream] + "; `lethe setup` creates it again"
			}
			problems = append(problems, p)
		}
		return problems
	}
	for _, name := range streamNames() {
		if info := i.Streams[name]; info != nil {
			problems = appendProblem(problems, checkStream(info.Config))
		}
	}
	if results := i.Streams[events.StreamResults]; results != nil {
		problems = appendProblem(problems, checkResultsAge(results.Config, resultsMinAge))
	}
	for _, name := range consumerNames(i.targets...) {
		if i.unread[name] != nil {
			continue
		}
		problems = appendProblem(problems, checkConsumer(name, i.consumers[name]))
	}
	for _, target := range i.targets {
		if info := i.scheduled[target]; info != nil { // without it, requests are answered nevertheless
			problems = appendProblem(problems, checkCounter(events.StreamLater, ScheduledCounter(target), info))
		}
	}
	return problems
}

// appendProblem adds err to problems if it is one.
func appendProblem(problems []*Problem, err error) []*Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return append(problems, p)
	}
	return problems
}

// checkConsumer refuses a consumer that could keep a message from all workers, or
// deliver it to two at the same time. info is nil if the consumer does not exist.
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
		return problem(fmt.Sprintf("max_deliver %d", have.MaxDeliver), "a message that was delivered that often would not be delivered again; it must be -1")
	case have.AckPolicy != jetstream.AckExplicitPolicy:
		return problem("ack_policy "+have.AckPolicy.String(), "it must be explicit: each message is acknowledged after its own result")
	case have.FilterSubject != want.FilterSubject || len(have.FilterSubjects) > 0:
		return problem("filter_subject", "it must be "+want.FilterSubject)
	case have.DeliverPolicy != jetstream.DeliverAllPolicy:
		return problem("deliver_policy "+have.DeliverPolicy.String(), "older messages would never be delivered; delete the consumer, and `lethe setup` creates it with deliver_policy all")
	case have.HeadersOnly:
		return problem("headers_only", "the worker would see every request without its body; it must be false")
	case have.ReplayPolicy != jetstream.ReplayInstantPolicy:
		return problem("replay_policy "+have.ReplayPolicy.String(), "requests would be delivered at the pace at which they were published; it must be instant")
	case len(have.BackOff) > 0:
		return problem("backoff", "it would shorten ack_wait; it must be empty")
	case len(have.PriorityGroups) > 0 || have.PriorityPolicy != jetstream.PriorityPolicyNone:
		return problem("priority_groups", "the worker's pulls would be refused; there must be none")
	case have.MaxRequestBatch > 0 || have.MaxRequestExpires > 0 || have.MaxRequestMaxBytes > 0:
		return problem("max_batch, max_expires or max_bytes", "the worker's pulls would be refused; they must not be set")
	case have.DeliverSubject != "":
		return problem("deliver_subject", "the worker pulls; it must have none")
	case have.AckWait < MinAckWait:
		return problem("ack_wait "+have.AckWait.String(), "a message that is being processed would be delivered to another worker; it must be at least "+MinAckWait.String())
	case have.InactiveThreshold > 0:
		return problem("inactive_threshold "+have.InactiveThreshold.String(), "the server would delete the consumer while no worker runs; it must be 0")
	case have.MaxAckPending > 0 && have.MaxAckPending < 2:
		return problem("max_ack_pending", "one message could block the lane; it must be -1")
	}
	return nil
}
