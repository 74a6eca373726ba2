package consumer_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/streams"
)

// contexts deletes user contexts at an API with one documented call, DELETE
// /contexts/{id}. Its answers are 204, and 404 for an id that does not exist.
type contexts struct{ client *deleter.Client }

func (c contexts) Delete(ctx context.Context, res events.Resource) deleter.Answer {
	id := res.(events.UserContexts).IDs[0] // a lane without BatchIDs gets the ids of one request
	return c.client.Call(ctx, http.MethodDelete, fmt.Sprintf("/contexts/%d", id), nil, nil, func(r deleter.Response) deleter.Answer {
		switch r.Status {
		case http.StatusNoContent:
			return deleter.Answer{Verdict: deleter.Deleted}
		case http.StatusNotFound:
			return deleter.Answer{Verdict: deleter.NotFound}
		default:
			return deleter.Unknown(r) // the lane makes the call again
		}
	})
}

// A lane with a deleter of one's own deletes one resource and does not find another.
func ExampleLane() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/contexts/10" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer api.Close()
	js, stopServer := serve()
	defer stopServer()
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()

	lane := consumer.New(js, consumer.Config{
		Target: events.KVUserContext, Deleter: contexts{client(api.URL)}, Instance: "example",
		Concurrency: 1, Timeout: 5 * time.Second, Grace: 5 * time.Second, // to finish its calls when it stops
		Rules: consumer.Rules{Retry: consumer.Policy{
			InitialInterval: time.Second, Multiplier: 2, MaxInterval: time.Minute, MaxElapsed: time.Hour,
		}},
	})
	ended := make(chan error, 1)
	go func() { ended <- lane.Run(ctx) }()

	for _, id := range []int64{10, 11} {
		result := request(ctx, js, id)
		fmt.Printf("%s: %s after %d call\n", result.Resource, result.Outcome, result.Attempts)
	}
	stop()
	fmt.Println("ended:", <-ended)
	// Output:
	// ids 10: deleted after 1 call
	// ids 11: not-found after 1 call
	// ended: <nil>
}

// client makes calls to the API at base.
func client(base string) *deleter.Client {
	baseURL, err := url.Parse(base)
	if err != nil {
		log.Fatal(err)
	}
	credential, err := deleter.NewCredential("key-of-the-example")
	if err != nil {
		log.Fatal(err)
	}
	return deleter.NewClient(deleter.ClientConfig{
		BaseURL: baseURL, Credential: credential, CredentialHeader: "X-Api-Key", Timeout: 5 * time.Second, Concurrency: 1,
	})
}

// serve starts an embedded server with Lethe's streams.
func serve() (js jetstream.JetStream, stop func()) {
	dir, err := os.MkdirTemp("", "lethe-example-")
	if err != nil {
		log.Fatal(err)
	}
	server, err := natsconn.Embed(natsconn.EmbedConfig{Dir: dir, Addr: "127.0.0.1:0", Sync: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: server.URL(), Command: "example"})
	if err != nil {
		log.Fatal(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		log.Fatal(err)
	}
	if err := streams.Setup(ctx, js, streams.Settings{Replicas: 1}); err != nil {
		log.Fatal(err)
	}
	return js, func() {
		nc.Close()
		server.Close()
		_ = os.RemoveAll(dir)
	}
}

// request publishes a request for one user context and returns its result.
func request(ctx context.Context, js jetstream.JetStream, id int64) events.Result {
	r := events.NewRequest("/example", events.UserContexts{IDs: []int64{id}})
	body, err := r.Encode()
	if err != nil {
		log.Fatal(err)
	}
	msg := &nats.Msg{Subject: events.RequestSubject(r.Target()), Header: nats.Header{"content-type": {events.ContentType}}, Data: body}
	if _, err := js.PublishMsg(ctx, msg); err != nil {
		log.Fatal(err)
	}
	results, err := js.OrderedConsumer(ctx, events.StreamResults, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{events.ResultFilter(r.Target(), r.ID, "")},
	})
	if err != nil {
		log.Fatal(err)
	}
	stored, err := results.Next(jetstream.FetchContext(ctx))
	if err != nil {
		log.Fatal(err)
	}
	result, err := events.ReadResult(stored.Headers(), stored.Data())
	if err != nil {
		log.Fatal(err)
	}
	return result
}
