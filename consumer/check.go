package consumer

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
	Why      string
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
// as they must be. resultsMinAge is that of [StreamSettings]. It returns a [*Problem]
// for a setting that breaks a promise, and another error where it could not look.
func Check(ctx context.Context, js jetstream.JetStream, resultsMinAge time.Duration, targets ...events.Target) error {
	if most := js.Conn().MaxPayload(); most < minPayload {
		return &Problem{Setting: fmt.Sprintf("max_payload %d", most), Why: fmt.Sprintf("results and retries would not fit; it must be at least %d bytes", minPayload)}
	}
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
			if err := checkResultsAge(stream.CachedInfo().Config, resultsMinAge); err != nil {
				return err
			}
			continue
		}
		for _, target := range targets {
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
	case c.PersistMode != jetstream.DefaultPersistMode:
		return problem("persist_mode "+c.PersistMode.String(), "what is acknowledged must be stored; it must be default")
	case c.NoAck:
		return problem("no_ack", "nobody would know what is stored; take it away")
	case c.SubjectDeleteMarkerTTL > 0:
		return problem("subject_delete_marker_ttl", "the server's markers would stand where results and attempts belong; take it away")
	case c.MaxMsgSize > 0 && int64(c.MaxMsgSize) < minPayload:
		return problem(fmt.Sprintf("max_msg_size %d", c.MaxMsgSize), fmt.Sprintf("results and retries would not fit; it must be at least %d bytes, or -1", minPayload))
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
	case have.HeadersOnly:
		return problem("headers_only", "the worker would see every request without its body; it must be false")
	case have.ReplayPolicy != jetstream.ReplayInstantPolicy:
		return problem("replay_policy "+have.ReplayPolicy.String(), "requests would wait for nothing; it must be instant")
	case len(have.BackOff) > 0:
		return problem("backoff", "it would shorten ack_wait; it must be empty")
	case have.MaxRequestBatch > 0 || have.MaxRequestExpires > 0 || have.MaxRequestMaxBytes > 0:
		return problem("max_batch, max_expires or max_bytes", "the worker's pulls would be refused; they must not be set")
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
