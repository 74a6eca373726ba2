package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// keepFor is how long a heartbeat is kept beyond the time that a call may take, so that
// an operator sees workers that stopped recently.
const keepFor = 10 * time.Minute

// heartbeat is what a worker publishes for one of its lanes.
type heartbeat struct {
	State       string  `json:"state,omitempty"` // of the lane, in a word
	Key         uint64  `json:"key"`             // sequence of the lane's key that the worker knows
	MayCall     bool    `json:"may_call"`        // that key lets it call
	Calls       int64   `json:"calls"`           // in flight
	CallTimeout float64 `json:"call_timeout_seconds"`
	Version     string  `json:"version,omitempty"`
	Stopped     bool    `json:"stopped,omitempty"` // the worker has ended
}

// storedBucket is the bucket lethe-control on a server, as one lane of one worker uses it.
type storedBucket struct {
	js jetstream.JetStream
	c  Config
}

func (b storedBucket) read(ctx context.Context) (Lane, error) {
	lane, err := ReadLane(ctx, b.js, b.c.Target)
	return lane, b.explain(err)
}

func (b storedBucket) now(ctx context.Context) (time.Time, error) {
	now, err := serverTime(ctx, b.js)
	return now, b.explain(err)
}

// explain returns errNotConnected if the connection is down; nats.go returns a timeout.
func (b storedBucket) explain(err error) error {
	if err != nil && !b.js.Conn().IsConnected() {
		return errNotConnected
	}
	return err
}

var errNotConnected = errors.New("not connected to NATS")

// beat publishes a heartbeat under the expectation that the lane's key is the one with
// the sequence expected, 0 for none.
func (b storedBucket) beat(ctx context.Context, h heartbeat, expected uint64) error {
	return b.publish(ctx, h, jetstream.WithExpectLastSequenceForSubject(expected, streams.LaneKey(b.c.Target)))
}

// beatUnguarded publishes a heartbeat without a guard. It gives no right to call.
func (b storedBucket) beatUnguarded(ctx context.Context, h heartbeat) error { return b.publish(ctx, h) }

func (b storedBucket) publish(ctx context.Context, h heartbeat, options ...jetstream.PublishOpt) error {
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	msg := &nats.Msg{Subject: streams.PublishSubject(b.js, streams.WorkerKey(b.c.Instance, string(b.c.Target))), Data: body}
	options = append(options, jetstream.WithExpectStream(streams.Control), jetstream.WithRetryAttempts(0),
		jetstream.WithMsgTTL((keepFor + b.c.CallTimeout).Round(time.Second)))
	_, err = b.js.PublishMsg(ctx, msg, options...)
	return b.explain(err)
}

// Worker is one lane of one worker, as of its last heartbeat.
type Worker struct {
	Instance string        `json:"instance"`
	Target   events.Target `json:"target"`
	Version  string        `json:"version,omitempty"`
	// State is the lane's state in a word.
	State string `json:"state,omitempty"`
	// Calls is how many calls were in flight.
	Calls int64 `json:"calls"`
	// Seen is when the server stored the heartbeat.
	Seen time.Time `json:"seen"`
	// Alive is true if the heartbeat is recent: by the server's clock, the worker could
	// still begin a call on it.
	Alive bool `json:"alive"`

	key      uint64        // sequence of the lane's key that it knows
	mayCall  bool          // that key lets it call
	callTime time.Duration // the longest that a call takes
	asked    time.Time     // the server's time when this was read
}

// Workers lists the lanes of the workers that have sent a heartbeat within the last
// minutes and have not ended, in the order of their instances.
func Workers(ctx context.Context, js jetstream.JetStream) ([]Worker, error) {
	stream, err := js.Stream(ctx, streams.Control)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", streams.Control, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(streams.WorkerKey("*", "*")))
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", streams.Control, err)
	}
	var workers []Worker
	for subject := range info.State.Subjects {
		last, err := streams.LastMessage(ctx, js, streams.Control, subject)
		if err != nil {
			return nil, err
		}
		tokens := strings.Split(subject, ".") // $KV.lethe-control.worker.<instance>.<target>
		var h heartbeat
		if last == nil || len(tokens) != 5 || json.Unmarshal(last.Data, &h) != nil || h.Stopped {
			continue
		}
		workers = append(workers, Worker{
			Instance: tokens[3], Target: events.Target(tokens[4]), Version: h.Version, State: h.State, Calls: h.Calls, Seen: last.Time,
			Alive: info.TimeStamp.Sub(last.Time) < BeginWithin,
			key:   h.Key, mayCall: h.MayCall, callTime: time.Duration(h.CallTimeout * float64(time.Second)), asked: info.TimeStamp,
		})
	}
	slices.SortFunc(workers, func(a, b Worker) int {
		return strings.Compare(a.Instance+string(a.Target), b.Instance+string(b.Target))
	})
	return workers, nil
}

// mayBeCalling reports whether a call of the worker may be in flight although the lane was
// paused with the key of that sequence, and all rights to call have ended.
func (w Worker) mayBeCalling(paused uint64) bool {
	if w.key >= paused && !w.mayCall {
		return w.Calls > 0 && w.asked.Sub(w.Seen) < w.callTime+Tolerance
	}
	return w.asked.Sub(w.Seen) < BeginWithin+w.callTime+Tolerance
}
