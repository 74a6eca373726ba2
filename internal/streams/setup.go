// Package streams creates, checks and repairs the JetStream streams and consumers
// that Lethe stands on. [Setup] is what an administrator runs; [Start] what a worker
// does that manages its streams itself; [Check] what a running worker asks again and
// again. An unsafe setting is a [*Problem], which names it and its fix.
package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// Settings are what an operator chooses about the streams.
type Settings struct {
	// Replicas, 1 to 5, is how many servers hold each stream. A stream that has
	// more keeps them.
	Replicas int
	// ResultsMaxAge is how long results are kept, and with them the promise of
	// one result a request; 0 is forever. A stream that keeps them longer stays so.
	ResultsMaxAge time.Duration
	// ResultsMinAge is how long a request can be open. An existing stream that
	// keeps results for less is refused; 0 refuses none.
	ResultsMinAge time.Duration
	// RequestsMaxBytes, ResultsMaxBytes and LaterMaxBytes limit the streams for
	// accounts that require a limit; 0 is none. A stream whose limit is larger, or
	// that has none, stays so. LaterMaxBytes must be at least 256 MiB.
	RequestsMaxBytes, ResultsMaxBytes, LaterMaxBytes int64
	// Created, unless nil, is told of each stream and consumer that did not exist.
	Created func(Created)
}

// Created is a stream, or a consumer of one, that did not exist.
type Created struct {
	Stream   string
	Consumer string // "" for the stream itself
	// Lost says what may be lost because it was missing, "" where nothing is.
	Lost string
}

func (s Settings) created(c Created) {
	if s.Created != nil {
		s.Created(c)
	}
}

// duplicateWindow is how long DELETION_REQUESTS refuses a repeated Nats-Msg-Id.
const duplicateWindow = 10 * time.Minute

// Start is [Setup] for a worker: it creates streams only where none of them
// exists. Where one is missing beside others it changes nothing and returns a
// [*Problem] with MissingBeside, because what that one held may be lost.
func Start(ctx context.Context, js jetstream.JetStream, s Settings) error {
	found, err := Inspect(ctx, js)
	if err != nil {
		return err
	}
	if missing := len(found.missing()); missing > 0 && missing < len(streamNames()) {
		return found.Check(s.ResultsMinAge)
	}
	return Setup(ctx, js, s)
}

// Setup creates the three streams and their consumers, or updates them without
// loss: limits that the operator set stay, replicas and ages are raised and
// never lowered. A stream that could lose a request as it stands is refused
// with a [*Problem] and not changed, because somebody chose that setting. What the
// server brought back and would not deliver is delivered again.
func Setup(ctx context.Context, js jetstream.JetStream, s Settings) error {
	found, err := Inspect(ctx, js, events.Targets()...)
	if err != nil {
		return err
	}
	for _, want := range []jetstream.StreamConfig{requestsStream(s), resultsStream(s), laterStream(s)} {
		if info := found.Streams[want.Name]; info != nil {
			if err := updateStream(ctx, js, info, want, s.ResultsMinAge); err != nil {
				return err
			}
			continue
		}
		created := Created{Stream: want.Name}
		if len(found.Streams) > 0 {
			created.Lost = lostWith[want.Name]
			want.FirstSeq = beyondAnyOther(time.Now())
		}
		_, err := js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another set-up was faster
			stream, err := js.Stream(ctx, want.Name)
			if err == nil {
				err = updateStream(ctx, js, stream.CachedInfo(), want, s.ResultsMinAge)
			}
			if err != nil {
				return fmt.Errorf("stream %s: %w", want.Name, err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("create stream %s: %w", want.Name, limitRequired(want.Name, err))
		}
		s.created(created)
	}
	for _, name := range consumerNames(events.Targets()...) {
		if err := setupConsumer(ctx, js, name, found.consumers[name]); err != nil {
			return err
		}
		if found.consumers[name] == nil && found.Streams[name.stream] != nil {
			s.created(Created{Stream: name.stream, Consumer: string(name.target)})
		}
	}
	passed, err := Stranded(ctx, js, events.Targets()...)
	if err != nil {
		return err
	}
	return Redeliver(ctx, js, passed)
}

// beyondAnyOther is the first sequence of a stream that is created beside others.
// They name sequences of the one that was there before: due steps name records,
// results name requests (seq-N). No stream took a million messages a second since
// it was created, so the time in microseconds is above all of its sequences. It
// stays below 2^53 until the year 2255, so that JSON readers keep it exact.
func beyondAnyOther(now time.Time) uint64 { return uint64(now.UnixMicro()) }

func updateStream(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo, want jetstream.StreamConfig, resultsMinAge time.Duration) error {
	// What an update adds is no reason to refuse it.
	have := info.Config
	have.Subjects = union(have.Subjects, want.Subjects)
	have.AllowMsgSchedules = have.AllowMsgSchedules || want.AllowMsgSchedules
	if err := checkStream(have); err != nil {
		return err
	}
	if want.Name == events.StreamResults {
		if err := checkResultsAge(have, resultsMinAge); err != nil {
			return err
		}
	}
	next := merged(have, want)
	_, err := js.UpdateStream(ctx, next)
	if limitMissing(err) && want.MaxBytes > 0 {
		if want.Name == events.StreamLater && PercentFull(want, info.State) >= LaterFullAt {
			return &Problem{Stream: want.Name, Setting: fmt.Sprintf("max_bytes %d", want.MaxBytes), Why: fmt.Sprintf("the stream holds %d bytes already; set %s higher", info.State.Bytes, LimitVariable[want.Name])}
		}
		next.MaxBytes = want.MaxBytes
		_, err = js.UpdateStream(ctx, next)
	}
	if err != nil {
		return fmt.Errorf("update stream %s: %w", want.Name, limitRequired(want.Name, err))
	}
	return nil
}

// LimitVariable names the setting of each stream's limit.
var LimitVariable = map[string]string{
	events.StreamRequests: "LETHE_REQUESTS_MAX_BYTES",
	events.StreamResults:  "LETHE_RESULTS_MAX_BYTES",
	events.StreamLater:    "LETHE_LATER_MAX_BYTES",
}

// errCodeMaxBytesRequired is the server's "account requires a stream config to
// have max bytes set" (errors.json of nats-server).
const errCodeMaxBytesRequired jetstream.ErrorCode = 10113

func limitMissing(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == errCodeMaxBytesRequired
}

// limitRequired adds which variable sets the limit that the account requires.
func limitRequired(stream string, err error) error {
	if limitMissing(err) {
		return fmt.Errorf("the account requires a limit, set %s: %w", LimitVariable[stream], err)
	}
	return err
}

// merged is have with what Lethe needs of want.
func merged(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	have.Description = want.Description
	have.Discard = want.Discard
	have.Duplicates = max(have.Duplicates, want.Duplicates)
	have.Replicas = max(have.Replicas, want.Replicas)
	have.DenyDelete = have.DenyDelete || want.DenyDelete
	have.DenyPurge = have.DenyPurge || want.DenyPurge
	have.AllowDirect = have.AllowDirect || want.AllowDirect
	have.AllowRollup = have.AllowRollup || want.AllowRollup
	if have.MaxBytes > 0 {
		have.MaxBytes = max(have.MaxBytes, want.MaxBytes)
	}
	have.MaxAge = longerAge(have.MaxAge, want.MaxAge)
	return have
}

// union is a and what b adds to it.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// setupConsumer creates a consumer, or takes from it what breaks a promise. info
// is nil if it does not exist.
func setupConsumer(ctx context.Context, js jetstream.JetStream, name consumerName, info *jetstream.ConsumerInfo) error {
	want := LaneConsumer(name.stream, name.target)
	if info == nil {
		if _, err := js.CreateConsumer(ctx, name.stream, want); err != nil {
			return fmt.Errorf("consumer %s of %s: %w", name.target, name.stream, err)
		}
		return nil
	}
	unsafe := checkConsumer(name, info)
	if unsafe == nil {
		return nil
	}
	fixed := *info
	fixed.Config = mergedConsumer(info.Config, want)
	if err := checkConsumer(name, &fixed); err != nil {
		return err
	}
	if _, err := js.UpdateConsumer(ctx, name.stream, fixed.Config); err != nil {
		return fmt.Errorf("%w (cannot change it: %w)", unsafe, err)
	}
	return nil
}

// mergedConsumer is have without what breaks a promise, as far as an update can
// change it. It keeps what an operator may choose, such as ack_wait.
func mergedConsumer(have, want jetstream.ConsumerConfig) jetstream.ConsumerConfig {
	have.FilterSubject, have.FilterSubjects = want.FilterSubject, nil
	have.MaxDeliver = want.MaxDeliver
	have.HeadersOnly = false
	have.BackOff = nil
	have.PriorityPolicy, have.PriorityGroups, have.PinnedTTL = jetstream.PriorityPolicyNone, nil, 0
	have.MaxRequestBatch, have.MaxRequestExpires, have.MaxRequestMaxBytes = 0, 0, 0
	have.InactiveThreshold = 0
	if have.AckWait < MinAckWait {
		have.AckWait = want.AckWait
	}
	if have.MaxAckPending == 1 {
		have.MaxAckPending = want.MaxAckPending
	}
	return have
}

// subjects are those of a stream, exactly.
func subjects(stream string) (all []string) {
	switch stream {
	case events.StreamResults:
		return []string{"deletions.results.*.*.*", "deletions.attempts.*.*.*"}
	case events.StreamLater:
		all = append(all, "deletions.later.*.*")
	}
	for _, target := range events.Targets() {
		// One by one and not by wildcard, so that a publish to a target that does
		// not exist is refused to its publisher.
		all = append(all, LaneConsumer(stream, target).FilterSubject)
	}
	return all
}

func requestsStream(s Settings) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.StreamRequests,
		Description: "Deletion requests, kept until each has its result.",
		Subjects:    subjects(events.StreamRequests),
		MaxBytes:    limit(s.RequestsMaxBytes),
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		Duplicates:  duplicateWindow,
		DenyDelete:  true,
		DenyPurge:   true,
		Replicas:    s.Replicas,
	}
}

// limit is a stream's max_bytes, of which -1 is none.
func limit(bytes int64) int64 {
	if bytes == 0 {
		return -1
	}
	return bytes
}

func resultsStream(s Settings) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.StreamResults,
		Description: "What became of each deletion request: its attempts and results.",
		Subjects:    subjects(events.StreamResults),
		MaxBytes:    limit(s.ResultsMaxBytes),
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		MaxAge:      s.ResultsMaxAge,
		DenyDelete:  true,
		DenyPurge:   true,
		AllowDirect: true,
		Replicas:    s.Replicas,
	}
}

func laterStream(s Settings) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              events.StreamLater,
		Description:       "The next steps of requests that wait, kept by the worker.",
		Subjects:          subjects(events.StreamLater),
		MaxBytes:          limit(s.LaterMaxBytes),
		Retention:         jetstream.WorkQueuePolicy,
		Storage:           jetstream.FileStorage,
		AllowMsgSchedules: true,
		AllowRollup:       true, // comes with schedules
		Replicas:          s.Replicas,
	}
}

// LaneConsumer is a lane's durable consumer of one stream. Delivery has no
// limit, because a message that the server gives up would never be answered; nor
// has what is pending, because workers bound that by what they pull.
func LaneConsumer(stream string, target events.Target) jetstream.ConsumerConfig {
	subject := events.RequestSubject(target)
	if stream == events.StreamLater {
		subject = events.DueSubject(target)
	}
	return jetstream.ConsumerConfig{
		Durable:       string(target),
		FilterSubject: subject,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		MaxDeliver:    -1,
		MaxAckPending: -1,
	}
}

// PercentFull is how full a limited stream is, 0 if it has no limit.
func PercentFull(c jetstream.StreamConfig, state jetstream.StreamState) uint64 {
	if c.MaxBytes <= 0 {
		return 0
	}
	return state.Bytes * 100 / uint64(c.MaxBytes)
}

// LaterFullAt is the share of its max_bytes, in percent, from which on
// DELETION_LATER takes no more requests' next steps: the server accepts schedules
// only in a stream that drops its oldest messages for new ones.
const LaterFullAt = 75

// AckWait is the ack_wait that [Setup] gives a consumer: how long the server waits
// for a sign of life before it delivers a message again. An operator may set
// another, down to MinAckWait.
const (
	AckWait    = 30 * time.Second
	MinAckWait = 4 * time.Second
)
