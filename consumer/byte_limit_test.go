package consumer

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

func TestAPullAsksForAsManyMessagesAsFitTheByteLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop, end := context.WithCancel(t.Context())
		h := newByteLimit(1000, 100)
		ask := func(most, want int) int64 {
			t.Helper()
			n, each, ok := h.reserve(stop, most)
			if !ok || n != want {
				t.Errorf("%d messages fit, %v, want %d", n, ok, want)
			}
			return int64(n) * each
		}

		first := ask(50, 10) // it assumes the largest size at first
		for range 200 {
			h.learn(10) // small messages arrive
		}
		h.add(10)
		h.release(first)
		second := ask(50, 50) // so it asks for more
		h.learn(400)          // a large one arrives
		h.add(400)
		h.release(second)
		third := ask(50, 1)
		h.add(600)
		h.release(third)

		full := make(chan bool)
		go func() {
			_, _, ok := h.reserve(stop, 1)
			full <- ok
		}()
		synctest.Wait()
		select {
		case <-full:
			t.Error("a message fits although the limit is reached")
		default:
		}
		h.release(600)
		if !<-full {
			t.Error("no message fits after a release")
		}
		end()
		if _, _, ok := h.reserve(stop, 1); ok {
			t.Error("a message fits after the context ended")
		}
	})
}

func TestAMessageLargerThanTheByteLimitIsPulledAlone(t *testing.T) {
	h := newByteLimit(1000, 5000)
	if n, each, ok := h.reserve(t.Context(), 50); n != 1 || each != 5000 || !ok {
		t.Errorf("%d messages of %d bytes fit, %v", n, each, ok)
	}
}

// heavyEvents are events with a large extension, structured and binary.
func heavyEvents(r events.Request) map[string]*nats.Msg {
	note := strings.Repeat("x", 30_000)
	data := `{"target":"kv-user-context","ids":[1,2]}`
	if r.Target() == sensayTarget {
		data = `{"target":"sensay-knowledge-base","replica_uuid":"03db5651-cb61-4bdf-9ef0-89561f7c9c53","knowledge_base_id":9007199254740993}`
	}
	const parent, when = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "2026-11-23T12:00:00Z"
	structured := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/crm/a%%20b","type":%q,"time":%q,"traceparent":%q,"note":%q,"data":%s}`,
		r.ID, events.RequestType, when, parent, note, data)
	return map[string]*nats.Msg{
		"structured": {Subject: events.RequestSubject(r.Target()), Data: []byte(structured), Header: nats.Header{
			"content-type": {events.ContentType}, "Nats-Msg-Id": {r.ID}, "Lethe-Attempt": {"3"}, "Lethe-Unanswered": {"true"}, "traceparent": {parent},
		}},
		"binary": {Subject: events.RequestSubject(r.Target()), Data: []byte(data), Header: nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {r.ID}, "ce-source": {"/crm"}, "ce-type": {events.RequestType}, "ce-time": {when}, "ce-note": {note}, "Lethe-Attempt": {"3"},
		}},
	}
}

func TestALargeMessageIsReplacedByItsRequestAlone(t *testing.T) {
	for _, target := range events.Targets() {
		r := map[events.Target]events.Request{kvTarget: contexts(1, 2), sensayTarget: entry(7)}[target]
		for form, msg := range heavyEvents(r) {
			t.Run(string(target)+" "+form, func(t *testing.T) {
				before, err := events.ReadRequest(target, msg.Header, msg.Data)
				if err != nil {
					t.Fatal(err)
				}
				progress := ledger.ReadProgress(msg.Header)
				reduced := before
				compact(msg, &reduced)
				if got := bytesOf(msg); got > 2000 {
					t.Errorf("%d bytes are in memory", got)
				}
				after, err := events.ReadRequest(target, msg.Header, msg.Data)
				if err != nil {
					t.Fatal(err)
				}
				for what, r := range map[string]events.Request{"in flight": reduced, "as the next step": after} {
					if diff := cmp.Diff(before, r); diff != "" {
						t.Errorf("%s (-before +after):\n%s", what, diff)
					}
				}
				if diff := cmp.Diff(progress, ledger.ReadProgress(msg.Header)); diff != "" {
					t.Errorf("progress (-before +after):\n%s", diff)
				}
			})
		}
	}
}

func TestASmallMessageIsNotChanged(t *testing.T) {
	r := contexts(1)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	header := nats.Header{"content-type": {events.ContentType}, "ce-note": {"1"}}
	msg := &nats.Msg{Data: body, Header: maps.Clone(header)}
	compact(msg, &r)
	if string(msg.Data) != string(body) || !cmp.Equal(msg.Header, header) {
		t.Errorf("%s %v", msg.Data, msg.Header)
	}
}

// A message from the server keeps its original size in a field of its own.
func TestALargeMessageInFlightCountsWithItsReducedSize(t *testing.T) {
	env := newEnvironment(t)
	r := contexts(1, 2)
	sub, err := env.nc.SubscribeSync(env.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	event := heavyEvents(r)["structured"]
	event.Subject = sub.Subject
	if err := env.nc.PublishMsg(event); err != nil {
		t.Fatal(err)
	}
	msg, err := sub.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytesOf(msg); got < 30_000 {
		t.Errorf("it has %d bytes before it is reduced", got)
	}
	compact(msg, &r)
	if got := bytesOf(msg); got > 2000 {
		t.Errorf("%d bytes are in memory", got)
	}
}

func TestLargeRequestsAreAnsweredUnderASmallByteLimit(t *testing.T) {
	env := newEnvironment(t)
	c := env.config(kvTarget, answering(answerBusy, answerBusy, answerDeleted))
	c.BatchIDs, c.MaxBytesInFlight = 100, 64<<10
	env.run(c)
	var all []events.Request
	for i := range 40 {
		r := contexts(int64(i + 1))
		body, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		large := strings.Replace(string(body), "{", `{"note":"`+strings.Repeat("x", 50_000)+`",`, 1)
		env.publishRaw(kvTarget, []byte(large), nats.Header{"content-type": {events.ContentType}})
		all = append(all, r)
	}
	for _, r := range all {
		if got := env.final(kvTarget, r.ID); got.Outcome != events.Deleted || !cmp.Equal(got.Resource, r.Resource) {
			t.Errorf("%s: %s %v", r.ID, got.Outcome, got.Resource)
		}
	}
	env.settled()
}
