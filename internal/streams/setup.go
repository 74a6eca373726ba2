// Package streams creates, checks and repairs the JetStream streams and consumers
// that Lethe uses. An administrator runs [Setup]. A worker that manages its streams
// runs [Start], and [Check] regularly. An unsafe setting is a [*Problem], which names
// the setting and its fix.
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
	// Replicas, 1 to 5, is the number of servers that store each stream. A stream with
	// more replicas keeps them.
	Replicas int
	// ResultsMaxAge is how long results are kept; 0 means forever. Only within this time
	// does a request have exactly one result. A longer age of the stream is kept.
	ResultsMaxAge time.Duration
	// ResultsMinAge is how long a request can be open. An existing stream that keeps
	// results for a shorter time is refused; 0 refuses none.
	ResultsMinAge time.Duration
	// RequestsMaxBytes, ResultsMaxBytes and LaterMaxBytes limit the streams for
	// accounts that require a limit; 0 means no limit. A larger limit of the stream, or
	// none, is kept. LaterMaxBytes must be at least 256 MiB.
	RequestsMaxBytes, ResultsMaxBytes, LaterMaxBytes int64
	// Created, unless nil, is called for each stream and consumer that was created.
	Created func(Created)
}

// Created is a stream, a consumer of a stream, or a lane's key, that did not exist.
type Created struct {
	Stream   string
	Consumer string // "" for the stream itself
	Key      string // "" for the stream itself
	// Lost describes what may be lost because it was missing; "" if nothing is.
	Lost string
}

func (s Settings) created(c Created) {
	if s.Created != nil {
		s.Created(c)
	}
}

// duplicateWindow is how long DELETION_REQUESTS refuses a repeated Nats-Msg-Id.
const duplicateWindow = 10 * time.Minute

// Start is [Setup] for a worker: it creates the streams only if none of them exists.
// If only some are missing, it changes nothing and returns a [*Problem] with
// MissingBeside, because messages of the missing stream may be lost. A bucket that
// never existed is created beside the others.
func Start(ctx context.Context, js jetstream.JetStream, s Settings) error {
	found, err := Inspect(ctx, js)
	if err != nil {
		return err
	}
	missing := len(found.missing())
	if missing > 0 && missing < len(streamNames()) && !found.olderThanControl() {
		return found.Check(s.ResultsMinAge)
	}
	return setup(ctx, js, s, false)
}

// Setup creates the streams, their consumers and the lanes' keys, or updates them
// without loss: it keeps an operator's limits, and raises replicas and ages but never
// lowers them. A stream with an unsafe setting is refused with a [*Problem] and not
// changed, because an operator may have chosen the setting. Stranded messages are
// redelivered.
func Setup(ctx context.Context, js jetstream.JetStream, s Settings) error {
	return setup(ctx, js, s, true)
}

// setup is Setup. Missing keys of lanes that existed are written only with repair.
func setup(ctx context.Context, js jetstream.JetStream, s Settings, repair bool) error {
	found, err := Inspect(ctx, js, events.Targets()...)
	if err != nil {
		return err
	}
	unused := found.controlUnused()
	for _, want := range []jetstream.StreamConfig{controlStream(s), requestsStream(s), resultsStream(s), laterStream(s)} {
		if info := found.Streams[want.Name]; info != nil {
			if err := updateStream(ctx, js, info, want, s.ResultsMinAge); err != nil {
				return err
			}
			continue
		}
		if err := createMissing(ctx, js, s, found, want); err != nil {
			return err
		}
	}
	if repair || unused {
		if err := setupKeys(ctx, js, s, unused); err != nil {
			return err
		}
	}
	for _, name := range consumerNames(events.Targets()...) {
		if err := setupConsumer(ctx, js, name, found.consumers[name]); err != nil {
			return err
		}
		if found.consumers[name] == nil && found.Streams[name.stream] != nil {
			s.created(Created{Stream: name.stream, Consumer: string(name.target)})
		}
	}
	if err := setupCounters(ctx, js); err != nil {
		return err
	}
	stranded, err := Stranded(ctx, js, events.Targets()...)
	if err != nil {
		return err
	}
	return Redeliver(ctx, js, stranded)
}

// createMissing creates a stream that was not found.
func createMissing(ctx context.Context, js jetstream.JetStream, s Settings, found *Inspection, want jetstream.StreamConfig) error {
	created := Created{Stream: want.Name}
	if len(found.Streams) > 0 {
		if want.Name != Control || !found.olderThanControl() {
			created.Lost = lostWith[want.Name]
		}
		want.FirstSeq = unusedSequence(time.Now())
	}
	err := createStream(ctx, js, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another setup was faster
		stream, err := js.Stream(ctx, want.Name)
		if err == nil {
			err = updateStream(ctx, js, stream.CachedInfo(), want, s.ResultsMinAge)
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", want.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("create stream %s: %w", want.Name, limitRequired(want.Name, err))
	}
	s.created(created)
	return nil
}

// unusedSequence returns the first sequence of a stream that replaces a lost one. The
// other streams still name sequences of the lost one: due steps name records, results
// name requests (seq-N). A stream takes less than a million messages a second, so
// the time in microseconds is above all of its sequences. It stays below 2^53 until
// the year 2255, so JSON readers keep it exact.
func unusedSequence(now time.Time) uint64 { return uint64(now.UnixMicro()) }

func updateStream(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo, want jetstream.StreamConfig, resultsMinAge time.Duration) error {
	// The update adds these, so they may be missing.
	have := info.Config
	have.Subjects = union(have.Subjects, want.Subjects)
	have.AllowMsgSchedules = have.AllowMsgSchedules || want.AllowMsgSchedules
	have.AllowMsgTTL = have.AllowMsgTTL || want.AllowMsgTTL
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
			return &Problem{Stream: want.Name, Setting: fmt.Sprintf("max_bytes %d", want.MaxBytes), Why: fmt.Sprintf("the stream already contains %d bytes; set %s higher", info.State.Bytes, LimitVariable[want.Name])}
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

// RaiseLimit says in one sentence how to raise a stream's max_bytes.
func RaiseLimit(stream string) string {
	edit := "raise max_bytes with `nats stream edit " + stream + " --max-bytes`"
	if variable := LimitVariable[stream]; variable != "" {
		return "raise " + variable + " and run `lethe setup`, or " + edit
	}
	return edit
}

// errCodeMaxBytesRequired is the server's "account requires a stream config to
// have max bytes set" (errors.json of nats-server).
const errCodeMaxBytesRequired jetstream.ErrorCode = 10113

func limitMissing(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == errCodeMaxBytesRequired
}

// limitRequired adds the variable that sets the limit that the account requires.
func limitRequired(stream string, err error) error {
	if limitMissing(err) {
		return fmt.Errorf("the account requires a limit, set %s: %w", LimitVariable[stream], err)
	}
	return err
}

// merged returns have with the settings that Lethe needs from want.
func merged(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	have.Description = want.Description
	for name, value := range want.Metadata {
		if have.Metadata == nil {
			have.Metadata = map[string]string{}
		}
		have.Metadata[name] = value
	}
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

// union returns a and the elements of b that a lacks.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// setupConsumer creates a consumer, or fixes its unsafe settings. info is nil if the
// consumer does not exist.
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

// mergedConsumer returns have without its unsafe settings, as far as an update can
// change them. It keeps what an operator may choose, such as ack_wait.
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

// subjects returns all subjects of a stream.
func subjects(stream string) (all []string) {
	switch stream {
	case Control:
		return []string{controlPrefix + ">"}
	case events.StreamResults:
		return []string{"deletions.results.*.*.*", "deletions.attempts.*.*.*"}
	case events.StreamLater:
		all = append(all, "deletions.later.*.*")
	}
	for _, target := range events.Targets() {
		// One by one and not by wildcard, so that a publish to an unknown target is
		// refused.
		all = append(all, LaneConsumer(stream, target).FilterSubject)
	}
	return all
}

// newStream returns the settings that all streams share.
func newStream(name, description string, maxBytes int64, s Settings) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        name,
		Description: description,
		Subjects:    subjects(name),
		MaxBytes:    limit(maxBytes),
		Storage:     jetstream.FileStorage,
		Replicas:    s.Replicas,
		Metadata:    map[string]string{controlSeen: "created"},
	}
}

func requestsStream(s Settings) jetstream.StreamConfig {
	c := newStream(events.StreamRequests, "Deletion requests, kept until each has its result.", s.RequestsMaxBytes, s)
	c.Retention = jetstream.WorkQueuePolicy
	c.Discard = jetstream.DiscardNew
	c.Duplicates = duplicateWindow
	c.DenyDelete, c.DenyPurge = true, true
	return c
}

func resultsStream(s Settings) jetstream.StreamConfig {
	c := newStream(events.StreamResults, "The attempts and results of deletion requests.", s.ResultsMaxBytes, s)
	c.Retention = jetstream.LimitsPolicy
	c.Discard = jetstream.DiscardNew
	c.MaxAge = s.ResultsMaxAge
	c.DenyDelete, c.DenyPurge = true, true
	c.AllowDirect = true
	return c
}

func laterStream(s Settings) jetstream.StreamConfig {
	c := newStream(events.StreamLater, "The next steps of requests that wait, kept by the worker.", s.LaterMaxBytes, s)
	c.Retention = jetstream.WorkQueuePolicy
	c.AllowMsgSchedules = true
	c.AllowRollup = true // the server sets it together with schedules
	return c
}

// limit returns a stream's max_bytes, where -1 means no limit.
func limit(bytes int64) int64 {
	if bytes == 0 {
		return -1
	}
	return bytes
}

// LaneConsumer returns the configuration of a lane's durable consumer of one stream.
// Deliveries have no limit: a message that the server stops delivering would never
// get its result. Pending messages have none either: workers limit what they pull.
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

// PercentFull returns how full a stream is in percent of its max_bytes, 0 if it has
// no limit.
func PercentFull(c jetstream.StreamConfig, state jetstream.StreamState) uint64 {
	if c.MaxBytes <= 0 {
		return 0
	}
	return state.Bytes * 100 / uint64(c.MaxBytes)
}

// LaterFullAt is the percentage of its max_bytes at which DELETION_LATER counts as
// full. The server accepts schedules only in a stream that drops its oldest messages
// for new ones, so workers stop before that.
const LaterFullAt = 75

// AckWait is the ack_wait that [Setup] gives a consumer: how long the server waits for
// an acknowledgement or an in-progress signal before it redelivers a message. An
// operator may set another, down to MinAckWait.
const (
	AckWait    = 30 * time.Second
	MinAckWait = 4 * time.Second
)
