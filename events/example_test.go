package events_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// An upstream program publishes a request and waits until the stream has stored it.
func Example_publish() {
	nc, stop := serve()
	defer stop()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	request := events.NewRequest("/crm/erasure", events.UserContexts{IDs: []int64{10, 11}})
	body, err := request.Encode()
	if err != nil {
		log.Fatal(err) // the request is invalid; the error names the field
	}
	msg := &nats.Msg{
		Subject: events.RequestSubject(request.Target()),
		Header:  nats.Header{"content-type": {events.ContentType}},
		Data:    body,
	}
	// A repeated publish, after a lost acknowledgement, is stored once.
	for range 2 {
		ack, err := js.PublishMsg(ctx, msg, jetstream.WithMsgID(request.MessageID()))
		if err != nil {
			log.Fatal(err) // not stored: publish it again
		}
		fmt.Printf("%s has it at %d, duplicate: %t\n", ack.Stream, ack.Sequence, ack.Duplicate)
	}
	// Output:
	// DELETION_REQUESTS has it at 1, duplicate: false
	// DELETION_REQUESTS has it at 1, duplicate: true
}

// A downstream program reads results with a durable consumer, which resumes where it
// stopped.
func Example_subscribe() {
	nc, stop := serve()
	defer stop()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	publishResults(ctx, js, events.Request{ID: "erase-7", Source: "/crm", Resource: entry})

	results, err := js.CreateOrUpdateConsumer(ctx, events.StreamResults, jetstream.ConsumerConfig{
		Durable:       "crm",
		FilterSubject: events.ResultFilter("", "", ""),
	})
	if err != nil {
		log.Fatal(err)
	}
	messages, err := results.Messages()
	if err != nil {
		log.Fatal(err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			log.Fatal(err)
		}
		result, err := events.ReadResult(msg.Headers(), msg.Data())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s, answer %d\n", result.RequestID, result.Outcome, result.Evidence.Status)
		if err := msg.DoubleAck(ctx); err != nil { // after the result is stored in your own records
			log.Fatal(err)
		}
		if result.Outcome.Final() {
			break // no other result follows for this request
		}
		fmt.Printf("%s: expected by %s\n", result.RequestID, result.ExpectedBy.Format(time.DateOnly))
	}
	// Output:
	// erase-7: accepted-pending, answer 202
	// erase-7: expected by 2026-11-24
	// erase-7: deleted, answer 200
}

// A program publishes a request and waits for its final result.
func Example_wait() {
	nc, stop := serve()
	defer stop()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	request := events.NewRequest("/crm/erasure", entry)
	body, err := request.Encode()
	if err != nil {
		log.Fatal(err)
	}
	ack, err := js.PublishMsg(ctx, &nats.Msg{
		Subject: events.RequestSubject(request.Target()),
		Header:  nats.Header{"content-type": {events.ContentType}},
		Data:    body,
	}, jetstream.WithMsgID(request.MessageID()))
	if err != nil {
		log.Fatal(err)
	}
	publishResults(ctx, js, request) // as a worker would

	results, err := js.OrderedConsumer(ctx, events.StreamResults, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{
			events.ResultFilter(request.Target(), request.ID, ""),
			events.ResultFilter(request.Target(), events.SequenceID(ack.Sequence), ""),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	messages, err := results.Messages()
	if err != nil {
		log.Fatal(err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			log.Fatal(err) // no result in time: the request is still stored, and ends later
		}
		result, err := events.ReadResult(msg.Headers(), msg.Data())
		if err != nil {
			log.Fatal(err)
		}
		if result.Outcome.Final() {
			fmt.Printf("%s after %d call, mine: %t\n", result.Outcome, result.Attempts, result.RequestID == request.ID)
			break
		}
	}
	// Output:
	// deleted after 1 call, mine: true
}

// ReadRequest returns the id of an invalid request and an error that names the field.
func ExampleReadRequest() {
	request, err := events.ReadRequest(events.KVUserContext, nil, []byte(`{
		"specversion": "1.0", "id": "erase-7", "source": "/crm", "type": "lethe.deletion.requested.v1",
		"data": {"target": "kv-user-context", "ids": [10, 1e3]}}`))
	fmt.Println(request.ID)
	fmt.Println(err)
	// Output:
	// erase-7
	// data.ids[1]: must be an integer from 1 to 9223372036854775807, without fraction or exponent, not 1e3
}

// serve starts a NATS server with simplified streams of requests and results.
func serve() (*nats.Conn, func()) {
	dir, err := os.MkdirTemp("", "lethe-example")
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Port: server.RANDOM_PORT, DontListen: true, JetStream: true, StoreDir: dir, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("the server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		log.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, stream := range []jetstream.StreamConfig{
		{Name: events.StreamRequests, Subjects: []string{events.RequestSubject(events.KVUserContext), events.RequestSubject(events.SensayKnowledgeBase)}},
		{Name: events.StreamResults, Subjects: []string{events.ResultFilter("", "", "")}},
	} {
		if _, err := js.CreateStream(ctx, stream); err != nil {
			log.Fatal(err)
		}
	}
	return nc, func() {
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
		if err := os.RemoveAll(dir); err != nil {
			log.Fatal(err)
		}
	}
}

// entry is what the examples delete.
var entry = events.KnowledgeBaseEntry{ReplicaUUID: uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"), KnowledgeBaseID: 12345}

// publishResults publishes results like a worker.
func publishResults(ctx context.Context, js jetstream.JetStream, request events.Request) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		outcome events.Outcome
		status  int
		at      time.Time
		by      time.Time
	}{
		{events.AcceptedPending, 202, noon, noon.AddDate(0, 0, 1)},
		{events.Deleted, 200, noon.AddDate(0, 0, 1), time.Time{}},
	} {
		result := events.Result{
			EventID: "result-of-" + string(step.outcome), Source: "/lethe/example", Time: step.at,
			RequestID: request.ID, RequestSource: request.Source, Target: request.Target(), Resource: request.Resource,
			Outcome: step.outcome, Attempts: 1, ExpectedBy: step.by,
			Evidence: &events.Evidence{Status: step.status, ObservedAt: step.at},
		}
		body, err := result.Encode()
		if err != nil {
			log.Fatal(err)
		}
		subject := events.ResultSubject(result.Target, result.RequestID, result.Outcome)
		if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: nats.Header{"content-type": {events.ContentType}}, Data: body}); err != nil {
			log.Fatal(err)
		}
	}
}
