package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// StreamSettings are what an operator chooses about the streams.
type StreamSettings struct {
	// Replicas, 1 to 5, is how many servers hold each stream. A stream that has
	// more keeps them.
	Replicas int
	// ResultsMaxAge is how long results are kept, and with them the promise of
	// one result a request. A stream that keeps them longer goes on doing so.
	ResultsMaxAge time.Duration
}

// duplicateWindow is how long DELETION_REQUESTS refuses a repeated Nats-Msg-Id.
const duplicateWindow = 10 * time.Minute

// Problem is a setting of a stream or consumer that breaks a promise.
type Problem struct {
	Stream   string
	Consumer string // "" when it is the stream's own setting
	Setting  string
	Why      string
}

func (p *Problem) Error() string {
	of := "stream " + p.Stream
	if p.Consumer != "" {
		of += ", consumer " + p.Consumer
	}
	return fmt.Sprintf("%s: %s: %s", of, p.Setting, p.Why)
}

// Setup creates the three streams and their consumers, or updates them without
// loss: limits that the operator set stay, replicas and ages are raised and
// never lowered. A stream that could lose a request as it stands is refused
// with a [*Problem] rather than changed, for somebody wanted it so.
func Setup(ctx context.Context, js jetstream.JetStream, s StreamSettings) error {
	for _, want := range []jetstream.StreamConfig{requestsStream(s), resultsStream(s), laterStream(s)} {
		if err := setupStream(ctx, js, want); err != nil {
			return err
		}
	}
	for _, stream := range []string{events.StreamRequests, events.StreamLater} {
		for _, target := range events.Targets() {
			if _, err := js.CreateOrUpdateConsumer(ctx, stream, laneConsumer(stream, target)); err != nil {
				return fmt.Errorf("consumer %s of %s: %w", target, stream, err)
			}
		}
	}
	return nil
}

func setupStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err = js.CreateStream(ctx, want); err != nil {
			return fmt.Errorf("create stream %s: %w", want.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", want.Name, err)
	}
	have := stream.CachedInfo().Config
	if err := checkStream(have); err != nil {
		return err
	}
	if _, err := js.UpdateStream(ctx, merged(have, want)); err != nil {
		return fmt.Errorf("update stream %s: %w", want.Name, err)
	}
	return nil
}

// merged is have with what Lethe needs of want.
func merged(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	have.Description = want.Description
	have.Subjects = want.Subjects
	have.Discard = want.Discard
	have.Duplicates = max(have.Duplicates, want.Duplicates)
	have.Replicas = max(have.Replicas, want.Replicas)
	have.DenyDelete = have.DenyDelete || want.DenyDelete
	have.DenyPurge = have.DenyPurge || want.DenyPurge
	have.AllowDirect = have.AllowDirect || want.AllowDirect
	have.AllowMsgTTL = have.AllowMsgTTL || want.AllowMsgTTL
	have.AllowMsgSchedules = have.AllowMsgSchedules || want.AllowMsgSchedules
	if have.MaxAge != 0 {
		have.MaxAge = max(have.MaxAge, want.MaxAge)
	}
	return have
}

func requestsStream(s StreamSettings) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:        events.StreamRequests,
		Description: "Deletion requests, kept until each has its result.",
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		Duplicates:  duplicateWindow,
		DenyDelete:  true,
		DenyPurge:   true,
		Replicas:    s.Replicas,
	}
	for _, target := range events.Targets() {
		// One by one and not by wildcard, so that a publish to a target that does
		// not exist is refused to its publisher.
		c.Subjects = append(c.Subjects, events.RequestSubject(target))
	}
	return c
}

func resultsStream(s StreamSettings) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.StreamResults,
		Description: "What became of each deletion request: its attempts and results.",
		Subjects:    []string{"deletions.results.*.*.*", "deletions.attempts.*.*.*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		MaxAge:      s.ResultsMaxAge,
		DenyDelete:  true,
		DenyPurge:   true,
		AllowDirect: true,
		AllowMsgTTL: true,
		Replicas:    s.Replicas,
	}
}

func laterStream(s StreamSettings) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:              events.StreamLater,
		Description:       "The next steps of requests that wait, kept by the worker.",
		Subjects:          []string{"deletions.later.*.*"},
		Retention:         jetstream.WorkQueuePolicy,
		Storage:           jetstream.FileStorage,
		AllowMsgSchedules: true,
		AllowRollup:       true, // comes with schedules
		Replicas:          s.Replicas,
	}
	for _, target := range events.Targets() {
		c.Subjects = append(c.Subjects, events.DueSubject(target))
	}
	return c
}

// laneConsumer is a lane's durable consumer of one stream. Delivery has no
// limit, for a message that is given up by the server would wait for ever; and
// neither has what is pending, for workers bound that by what they pull.
func laneConsumer(stream string, target events.Target) jetstream.ConsumerConfig {
	subject := events.RequestSubject(target)
	if stream == events.StreamLater {
		subject = events.DueSubject(target)
	}
	return jetstream.ConsumerConfig{
		Durable:       string(target),
		FilterSubject: subject,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: -1,
	}
}

// Check looks whether the streams and consumers still are as they must be. It
// returns a [*Problem] for a setting that breaks a promise, and another error
// where it could not look.
func Check(ctx context.Context, js jetstream.JetStream) error {
	for _, name := range []string{events.StreamRequests, events.StreamResults, events.StreamLater} {
		stream, err := js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return &Problem{Stream: name, Setting: "missing", Why: "`lethe setup` creates it"}
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
		if err := checkStream(stream.CachedInfo().Config); err != nil {
			return err
		}
		if name == events.StreamResults {
			continue
		}
		for _, target := range events.Targets() {
			if err := checkConsumer(ctx, stream, name, target); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkStream refuses what could drop a request or a result, or let one slip
// past the chain.
func checkStream(c jetstream.StreamConfig) error {
	problem := func(setting, why string) error {
		return &Problem{Stream: c.Name, Setting: setting, Why: why}
	}
	queue := c.Name != events.StreamResults
	limited := c.MaxMsgs > 0 || c.MaxBytes > 0 || c.MaxMsgsPerSubject > 0
	switch {
	case c.Storage != jetstream.FileStorage:
		return problem("storage "+c.Storage.String(), "memory does not survive a restart; it must be file")
	case queue && c.Retention != jetstream.WorkQueuePolicy:
		return problem("retention "+c.Retention.String(), "it must be workqueue, which keeps a message until it is acknowledged")
	case !queue && c.Retention != jetstream.LimitsPolicy:
		return problem("retention "+c.Retention.String(), "it must be limits, which keeps results whoever has read them")
	case queue && c.MaxAge > 0:
		return problem("max_age "+c.MaxAge.String(), "requests would be dropped when they grow old; it must be 0")
	case limited && c.Discard != jetstream.DiscardNew:
		return problem("discard old with a limit", "old messages would be dropped for new ones; take the limit away or set discard new")
	case c.MaxMsgsPerSubject > 0 && !c.DiscardNewPerSubject:
		return problem("max_msgs_per_subject", "old messages would be dropped for new ones; set discard_new_per_subject or take the limit away")
	case c.Name == events.StreamRequests && c.AllowMsgTTL:
		return problem("allow_msg_ttl", "a publisher could let a request expire; make the stream anew without it")
	case c.Name == events.StreamRequests && (c.AllowMsgSchedules || c.AllowRollup):
		return problem("allow_rollup_hdrs", "a publisher could wipe what waits with one header; take it away")
	case c.Mirror != nil || len(c.Sources) > 0 || c.SubjectTransform != nil:
		return problem("mirror, sources or subject_transform", "messages must come from their publishers alone, on their own subjects")
	case c.Name == events.StreamLater && limited:
		return problem("a limit", "a retry that is refused is a request that waits; it must have none")
	case c.Sealed:
		return problem("sealed", "nothing can be stored")
	}
	return nil
}

func checkConsumer(ctx context.Context, stream jetstream.Stream, name string, target events.Target) error {
	consumer, err := stream.Consumer(ctx, string(target))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return &Problem{Stream: name, Consumer: string(target), Setting: "missing", Why: "`lethe setup` creates it"}
	}
	if err != nil {
		return fmt.Errorf("consumer %s of %s: %w", target, name, err)
	}
	have, want := consumer.CachedInfo().Config, laneConsumer(name, target)
	problem := func(setting, why string) error {
		return &Problem{Stream: name, Consumer: string(target), Setting: setting, Why: why}
	}
	switch {
	case have.MaxDeliver > 0:
		return problem(fmt.Sprintf("max_deliver %d", have.MaxDeliver), "a message delivered that often would be stuck for ever; it must be -1")
	case have.AckPolicy != jetstream.AckExplicitPolicy:
		return problem("ack_policy "+have.AckPolicy.String(), "it must be explicit: each message is acknowledged after its own result")
	case have.FilterSubject != want.FilterSubject || len(have.FilterSubjects) > 0:
		return problem("filter_subject", "it must be "+want.FilterSubject)
	case have.DeliverSubject != "":
		return problem("deliver_subject", "the worker pulls; it must have none")
	case have.AckWait < minAckWait:
		return problem("ack_wait "+have.AckWait.String(), "what a worker has in hand would be delivered to another; it must be at least "+minAckWait.String())
	case have.InactiveThreshold > 0:
		return problem("inactive_threshold "+have.InactiveThreshold.String(), "the consumer would vanish while no worker runs; it must be 0")
	case have.MaxAckPending > 0 && have.MaxAckPending < 2:
		return problem("max_ack_pending", "a lane could stand still behind one message; it must be -1")
	}
	return nil
}
