package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/streams"
)

// load stores the load and the measured requests. Loading is not measured, so the server
// syncs to disk only every two minutes.
func (f Flat) load(ctx context.Context, programs map[e2e.Program]string, dir string) error {
	server, err := e2e.NewNATS(programs[e2e.NATSServer], dir, "2m")
	if err != nil {
		return err
	}
	defer server.Kill()
	js, closeNATS, err := connected(ctx, server)
	if err != nil {
		return err
	}
	defer closeNATS()
	if err := streams.Setup(ctx, js, streams.Settings{ResultsMaxAge: 720 * time.Hour, Replicas: 1}); err != nil {
		return err
	}
	lane, other := &trial{Workload: Workload{Target: f.Target}}, &trial{Workload: Workload{Target: f.other()}}
	for i := range f.Size {
		var msg *nats.Msg
		switch f.Load {
		case Waiting:
			msg, err = waiting(lane.request(i))
		case Elsewhere:
			msg, err = waiting(other.request(i))
		case Stored:
			msg, err = storedResult(lane.request(i), uint64(i)+1)
		case Scheduled:
			msg, err = scheduled(lane.request(i), uint64(i)+1, time.Now().Add(24*time.Hour))
		default:
			err = fmt.Errorf("unknown load %q", f.Load)
		}
		if err := errors.Join(err, publish(js, msg)); err != nil {
			return err
		}
	}
	for i := f.Size; f.Load != Waiting && i < f.Size+f.Count; i++ {
		msg, err := waiting(lane.request(i))
		if err := errors.Join(err, publish(js, msg)); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-js.PublishAsyncComplete():
	}
	if err := f.loaded(ctx, js); err != nil {
		return err
	}
	closeNATS()
	return server.End(5 * time.Minute) // it writes its indexes, which takes long
}

// other is the target of the other lane.
func (f Flat) other() events.Target {
	if f.Target == events.KVUserContext {
		return events.SensayKnowledgeBase
	}
	return events.KVUserContext
}

// settings are the worker's environment variables. A lane without a credential is
// blocked, so its requests wait.
func (f Flat) settings() []string {
	switch {
	case f.Load != Elsewhere:
		return nil
	case f.Target == events.KVUserContext:
		return []string{"LETHE_SENSAY_ORGANIZATION_SECRET="}
	default:
		return []string{"LETHE_KV_ACCESS_KEY="}
	}
}

// requests is the number of requests in the measured lane.
func (f Flat) requests() int {
	if f.Load == Waiting {
		return f.Size
	}
	return f.Count
}

// loaded checks that the server has stored everything.
func (f Flat) loaded(ctx context.Context, js jetstream.JetStream) error {
	var stored uint64
	for _, name := range []string{events.StreamRequests, events.StreamResults, events.StreamLater} {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		stored += stream.CachedInfo().State.Msgs
	}
	want := f.Size
	if f.Load != Waiting {
		want += f.Count
	}
	if stored != uint64(want) {
		return fmt.Errorf("the server stored %d messages of %d", stored, want)
	}
	return nil
}

func publish(js jetstream.JetStream, msg *nats.Msg) error {
	if msg == nil {
		return nil
	}
	// The wait is long because loading may run at a low priority.
	_, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(10*time.Minute))
	return err
}

// waiting returns a request as its publisher sends it, but without a message id: the
// server's memory for its duplicate window is not part of the backlog.
func waiting(r events.Request) (*nats.Msg, error) {
	body, err := r.Encode()
	return &nats.Msg{Subject: events.RequestSubject(r.Target()), Data: body}, err
}

// storedResult returns the final result of a request as a worker stores it. arrival is the
// request's sequence on its stream.
func storedResult(r events.Request, arrival uint64) (*nats.Msg, error) {
	now := time.Now().UTC()
	body, err := events.Result{
		EventID: newID(), Source: "/lethe/" + loader, Time: now, RequestID: r.ID, RequestSource: r.Source, Target: r.Target(), Resource: r.Resource,
		Outcome: events.Deleted, Attempts: 1, Evidence: &events.Evidence{Status: 200, Message: "200 OK", ObservedAt: now, CallID: newID(), CallRequests: 1},
	}.Encode()
	msg := &nats.Msg{Subject: events.ResultSubject(r.Target(), r.ID, events.Deleted), Data: body, Header: history(arrival, now)}
	msg.Header.Set("content-type", events.ContentType)
	msg.Header.Set("Lethe-Link", newID())
	msg.Header.Set("Lethe-Fingerprint", events.Fingerprint(r.Resource))
	msg.Header.Set("Lethe-Instance", loader)
	msg.Header.Set(jetstream.ExpectedStreamHeader, events.StreamResults)
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	msg.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, "deletions.*."+string(r.Target())+"."+r.ID+".*")
	return msg, err
}

// checkHeaders fails if the loaded results have other headers than the worker's first
// result, which is at the sequence worker or after it.
func (f Flat) checkHeaders(ctx context.Context, js jetstream.JetStream, worker uint64) error {
	if f.Load != Stored {
		return nil
	}
	stream, err := js.Stream(ctx, events.StreamResults)
	if err != nil {
		return err
	}
	var names [2][]string
	for i, from := range []uint64{1, worker} {
		msg, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(events.ResultFilter("", "", "")))
		if err != nil {
			return err
		}
		names[i] = slices.Sorted(maps.Keys(msg.Header))
	}
	if !slices.Equal(names[0], names[1]) {
		return fmt.Errorf("a worker's result has headers %q, the load %q", names[1], names[0])
	}
	return nil
}

// scheduled returns a schedule for a request as a worker stores it.
func scheduled(r events.Request, arrival uint64, at time.Time) (*nats.Msg, error) {
	body, err := r.Encode()
	msg := &nats.Msg{Subject: events.LaterSubject(r.Target(), r.ID), Data: body, Header: history(arrival, time.Now().UTC())}
	msg.Header.Set(jetstream.ExpectedStreamHeader, events.StreamLater)
	msg.Header.Set("Nats-Schedule", "@at "+at.UTC().Format(time.RFC3339Nano))
	msg.Header.Set("Nats-Schedule-Target", events.DueSubject(r.Target()))
	return msg, err
}

// history returns the headers of records and schedules after a request's first attempt.
func history(arrival uint64, since time.Time) nats.Header {
	header := nats.Header{"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	header.Set("Lethe-Attempt", "1")
	header.Set("Lethe-First-Attempt", since.Format(time.RFC3339Nano))
	header.Set("Lethe-Unanswered", "false")
	header.Set("Lethe-Expected", strconv.FormatUint(arrival, 10))
	header.Set("Lethe-Waits", "0")
	header.Set("Lethe-Elapsed", "0s")
	header.Set("Lethe-Step", "delete")
	header.Set("Lethe-Request-Sequence", strconv.FormatUint(arrival, 10))
	return header
}

// loader is the worker instance in the loaded results.
var loader = newID()

func newID() string { return uuid.Must(uuid.NewV7()).String() }
