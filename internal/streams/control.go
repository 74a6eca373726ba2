package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// Control is the stream of the key-value bucket lethe-control. It contains a key for each
// lane, which may be a pause, and the heartbeats of the workers.
const Control = "KV_lethe-control"

// controlPrefix begins the bucket's subjects (ADR-8).
const controlPrefix = "$KV.lethe-control."

// LaneKey is the subject of a lane's key. It is also the guard of a heartbeat:
// while a publish is in flight, the server compares guards as text.
func LaneKey(target events.Target) string { return controlPrefix + "lane." + string(target) }

// WorkerKey is the subject of the heartbeats of one lane of one worker. "*" matches
// all.
func WorkerKey(instance, target string) string {
	return controlPrefix + "worker." + instance + "." + target
}

// PublishSubject is the subject on which to publish to a subject of the bucket, in the
// domain of js: leaf nodes between domains do not forward $KV.
func PublishSubject(js jetstream.JetStream, subject string) string {
	if js.Options().Domain != "" {
		return APISubject(js, subject)
	}
	return subject
}

const (
	// controlHistory is how many of a lane's pauses and resumptions are kept.
	controlHistory = 16
	// controlMaxBytes limits the bucket where the account requires a limit.
	controlMaxBytes = 64 << 20
	// controlSeen is set in the metadata of DELETION_REQUESTS once the bucket exists. It
	// distinguishes a lost bucket from an installation that is older than the bucket.
	controlSeen = "lethe.control"
)

// controlStream is the configuration of a key-value bucket without roll-ups and direct
// gets: with a roll-up a worker could remove the lanes' keys, and a replica that is
// behind may answer a direct get.
func controlStream(s Settings) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              Control,
		Description:       "Which lanes are paused, and the heartbeats of the workers.",
		Subjects:          subjects(Control),
		MaxMsgsPerSubject: controlHistory,
		MaxBytes:          -1,
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		DenyDelete:        true,
		DenyPurge:         true,
		AllowMsgTTL:       true, // heartbeats expire
		Replicas:          s.Replicas,
		// A worker must not confuse a key of this bucket with one of an earlier bucket.
		FirstSeq: unusedSequence(time.Now()),
	}
}

// createTimeout is how long a stream is created again after the server could not make
// its files. A server that has just deleted a stream of that name still removes them.
const createTimeout = 2 * time.Second

// createStream creates a stream. The bucket gets a limit where the account requires one.
func createStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxElapsedTime(createTimeout))
	return backoff.Retry(func() error {
		_, err := js.CreateStream(ctx, want)
		switch {
		case limitMissing(err) && want.Name == Control && want.MaxBytes != controlMaxBytes:
			want.MaxBytes = controlMaxBytes
			return err
		case filesRefused(err) || err == nil:
			return err
		}
		return backoff.Permanent(err)
	}, backoff.WithContext(policy, ctx))
}

// errCodeCreateFailed is the server's code for a stream that it could not create, whatever
// the cause (errors.json and jetstream_api.go of nats-server).
const errCodeCreateFailed jetstream.ErrorCode = 10049

// filesRefused reports whether the server could not make the files of a stream.
func filesRefused(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == errCodeCreateFailed && api.Description == "error creating store for stream"
}

// controlUnused reports whether the bucket is missing or never contained a message, so
// that no key is lost.
func (i *Inspection) controlUnused() bool {
	info := i.Streams[Control]
	return info == nil || info.State.LastSeq < max(info.Config.FirstSeq, 1)
}

// olderThanControl reports whether only the bucket is missing and never existed. Then
// nothing is lost.
func (i *Inspection) olderThanControl() bool {
	missing := i.missing()
	return len(missing) == 1 && missing[0] == Control && i.Streams[events.StreamRequests].Config.Metadata[controlSeen] == ""
}

// setupKeys writes the key of each lane that has none or whose key cannot be read. A
// missing key may have been a pause, so only `lethe setup` writes it again and reports
// it, unless the bucket is new.
func setupKeys(ctx context.Context, js jetstream.JetStream, s Settings, fresh bool) error {
	for _, target := range events.Targets() {
		last, err := LastMessage(ctx, js, Control, LaneKey(target))
		if err != nil {
			return err
		}
		if last != nil && readableKey(last) {
			continue
		}
		seq := uint64(0)
		if last != nil {
			seq = last.Seq
		}
		body, _ := json.Marshal(map[string]any{"state": "running", "by": "lethe setup", "since": time.Now().UTC()}) // always possible
		_, err = js.PublishMsg(ctx, &nats.Msg{Subject: PublishSubject(js, LaneKey(target)), Data: body},
			jetstream.WithExpectStream(Control), jetstream.WithExpectLastSequenceForSubject(seq, LaneKey(target)))
		var api *jetstream.APIError
		if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == errCodeInFlight) {
			continue // another setup was faster, or a person paused the lane
		}
		if err != nil {
			return fmt.Errorf("key %s: %w", LaneKey(target), err)
		}
		if !fresh {
			s.created(Created{Stream: Control, Key: "lane." + string(target), Lost: lostWith[Control]})
		}
	}
	return nil
}

// errCodeInFlight is the server's "wrong last sequence" while another publish under
// the same guard is in flight (10164, errors.json of nats-server).
const errCodeInFlight jetstream.ErrorCode = 10164

// readableKey reports whether a lane's key contains a valid state; package control reads
// the rest.
func readableKey(m *Message) bool {
	var key struct{ State string }
	if m.Header.Get("KV-Operation") != "" || m.Header.Get("Nats-Marker-Reason") != "" || json.Unmarshal(m.Data, &key) != nil {
		return false
	}
	return key.State == "running" || key.State == "paused"
}

// checkControlRetention refuses what could remove a lane's key.
func checkControlRetention(c jetstream.StreamConfig) (setting, why string) {
	switch {
	case c.Storage != jetstream.FileStorage:
		return "storage " + c.Storage.String(), "a pause would not survive a restart; it must be file"
	case c.Retention != jetstream.LimitsPolicy:
		return "retention " + c.Retention.String(), "it must be limits, which keeps the lanes' keys"
	case c.MaxAge > 0:
		return "max_age " + c.MaxAge.String(), "the lanes' keys would be dropped when they grow old; it must be 0"
	case c.AllowRollup:
		return "allow_rollup_hdrs", "a worker could remove the lanes' keys with one header; turn it off"
	case c.AllowMsgCounter:
		return "allow_msg_counter", "pauses would be refused; create the bucket without it"
	}
	return "", ""
}

// checkControlLimits refuses limits that drop a lane's key, or refuse the next one.
func checkControlLimits(c jetstream.StreamConfig) (setting, why string) {
	switch {
	case c.DiscardNewPerSubject:
		return "discard_new_per_subject", "pauses and heartbeats would be refused; turn it off"
	case (c.MaxMsgs > 0 || c.MaxBytes > 0) && c.Discard != jetstream.DiscardNew:
		return "discard old with a limit", "the lanes' keys would be dropped for heartbeats; remove the limit or set discard new"
	}
	return "", ""
}
