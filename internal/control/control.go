// Package control decides who may call, and until when. A person pauses a lane by writing
// its key in the bucket lethe-control; a worker may call only while a guarded write of
// its own, the heartbeat, is accepted.
//
// A [Lease] publishes a heartbeat every 3 s under the expectation that the lane's key is
// still the one that it read. A call must begin within 10 s of the sending of the last
// heartbeat that the server accepted, by both clocks of the machine. [Pause] writes the
// key and then waits for longer than that.
//
// Why no call begins after Pause has waited: one server, the leader of the bucket's
// stream, orders the pause and the heartbeats. A heartbeat that it accepts after the
// pause would expect an older key, so it accepts none. Each that it accepted was sent
// before the pause was stored, and the right to call that it gave counts from the
// sending. So the right of each worker ends at most 10 s after the pause was stored,
// and it takes no message for a worker to lose it: one that is cut off or stopped loses
// it by time, and one that starts has none before its first heartbeat. Only reading
// the key would not be enough: a leader that was cut off can still answer with the old
// key, but it cannot store.
//
// A pause with an end stays in the key until the key is written again, because a worker
// may only write heartbeats. After the end, a worker treats the key as one that lets it
// call. It uses the server's clock, and adds the tolerance of 5 s by which clocks may
// differ, so that no clock shows a time before the end when a call begins. The sequence
// still guards the heartbeats, so a further pause takes effect like any other.
//
// Read the files in this order:
//
//	control.go  the key of a lane, and reading it from the leader
//	lease.go    a worker's right to call
//	pause.go    pausing and resuming lanes
//	workers.go  the list of workers, from their heartbeats
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

const (
	// BeginWithin is how long after the sending of an accepted heartbeat a call may begin.
	BeginWithin = 10 * time.Second
	// Tolerance is by how much the clocks of workers, server and operator may differ.
	Tolerance = 5 * time.Second
	// beatEvery is the time between two heartbeats.
	beatEvery = 3 * time.Second
)

// The states of a lane's key, and of a key that cannot be read.
const (
	Running    = "running"
	Paused     = "paused"
	Unreadable = "unreadable" // missing, deleted or invalid: no call is made
)

// Lane is the key of a lane.
type Lane struct {
	Target events.Target `json:"target"`
	// State is [Running], [Paused] or [Unreadable].
	State string `json:"state"`
	// Reason is why a person paused the lane, or why the key cannot be read.
	Reason string `json:"reason,omitempty"`
	// By is the person who wrote the key.
	By string `json:"by,omitempty"`
	// Since is when the key was written, by the clock of its writer.
	Since time.Time `json:"since,omitzero"`
	// Until is when a pause ends by itself; zero: until it is resumed.
	Until time.Time `json:"until,omitzero"`
	// Sequence is that of the key on its stream, 0 if there is none.
	Sequence uint64 `json:"sequence"`
}

// key is a lane's key as it is stored.
type key struct {
	State  string    `json:"state"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
}

// Ended reports whether a pause with an end is over for all at the time now of the
// server: the end and the tolerance have passed.
func (l Lane) Ended(now time.Time) bool {
	return l.State == Paused && !l.Until.IsZero() && !now.Before(l.Until.Add(Tolerance))
}

// Fix is the command that lets the lane call again, "" if it may call.
func (l Lane) Fix() string {
	switch l.State {
	case Paused:
		return "lethe resume " + string(l.Target)
	case Unreadable:
		return "lethe setup"
	}
	return ""
}

// ReadLane reads the key of a lane from the leader of the bucket's stream. A missing
// or invalid key, or a missing bucket, is the state [Unreadable], not an error.
func ReadLane(ctx context.Context, js jetstream.JetStream, target events.Target) (Lane, error) {
	lane := Lane{Target: target, State: Unreadable}
	last, err := streams.LastMessage(ctx, js, streams.Control, streams.LaneKey(target))
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		lane.Reason = "the bucket lethe-control is missing"
		return lane, nil
	case err != nil:
		return lane, err
	case last == nil:
		lane.Reason = "the key lane." + string(target) + " of the bucket lethe-control is missing"
		return lane, nil
	}
	lane.Sequence = last.Seq
	k, problem := readKey(last)
	if problem != "" {
		lane.Reason = "the key lane." + string(target) + " of the bucket lethe-control " + problem
		return lane, nil
	}
	lane.State, lane.Reason, lane.By, lane.Since, lane.Until = k.State, k.Reason, k.By, k.Since, k.Until
	return lane, nil
}

// readKey reads a lane's key. problem is why it cannot be read.
func readKey(m *streams.Message) (k key, problem string) {
	if m.Header.Get("KV-Operation") != "" || m.Header.Get("Nats-Marker-Reason") != "" { // ADR-8, ADR-48
		return k, "was deleted"
	}
	err := json.Unmarshal(m.Data, &k)
	if err != nil || k.State != Running && k.State != Paused {
		return k, "is invalid"
	}
	return k, ""
}

// Lanes reads the keys of all lanes. A pause that has ended by itself is reported as
// [Running].
func Lanes(ctx context.Context, js jetstream.JetStream) ([]Lane, error) {
	var lanes []Lane
	for _, target := range events.Targets() {
		lane, err := ReadLane(ctx, js, target)
		if err != nil {
			return nil, fmt.Errorf("lane %s: %w", target, err)
		}
		if !lane.Until.IsZero() {
			now, err := serverTime(ctx, js)
			if err != nil {
				return nil, fmt.Errorf("lane %s: %w", target, err)
			}
			if lane.Ended(now) {
				lane = Lane{Target: target, State: Running, By: lane.By, Since: lane.Until, Sequence: lane.Sequence}
			}
		}
		lanes = append(lanes, lane)
	}
	return lanes, nil
}

// serverTime is the clock of the leader of the bucket's stream.
func serverTime(ctx context.Context, js jetstream.JetStream) (time.Time, error) {
	stream, err := js.Stream(ctx, streams.Control)
	if err != nil {
		return time.Time{}, err
	}
	now := stream.CachedInfo().TimeStamp
	if now.IsZero() {
		return now, errors.New("the server reports no time")
	}
	return now, nil
}

// Text describes in one line why a lane makes no calls, "" if it is running.
func (l Lane) Text() string {
	switch l.State {
	case Paused:
		text := fmt.Sprintf("paused by %s since %s: %s", l.By, l.Since.Local().Format(time.DateTime), l.Reason)
		if !l.Until.IsZero() {
			text += "; until " + l.Until.Local().Format(time.DateTime)
		}
		return strings.TrimSpace(text)
	case Unreadable:
		return l.Reason + "; `lethe setup` writes it again, and the lane then runs"
	}
	return ""
}

// The server's refusals of a guarded publish (errors.json of nats-server): the key has
// another sequence, or another publish with the same guard is in flight.
const (
	codeOtherKey = jetstream.JSErrCodeStreamWrongLastSequence // 10071
	codeInFlight = jetstream.ErrorCode(10164)
)

func hasCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}

// inFlightWait is how long to wait after a refusal because of a publish in flight.
const inFlightWait = 20 * time.Millisecond

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
