package streams_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/streams"
)

// Setup creates what is missing, and a second run changes nothing. Inspect reads the
// settings again, for example to see whether an operator has made one unsafe.
func ExampleSetup() {
	dir, err := os.MkdirTemp("", "lethe-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := natsconn.Embed(natsconn.EmbedConfig{Dir: dir, Addr: "127.0.0.1:0", Sync: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: server.URL(), Command: "example"})
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}

	for range 2 {
		fmt.Println("set up:")
		settings := streams.Settings{Replicas: 1, Created: func(c streams.Created) { fmt.Println("created", c.Stream) }}
		if err := streams.Setup(ctx, js, settings); err != nil {
			log.Fatal(err)
		}
	}
	found, err := streams.Inspect(ctx, js)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("problem:", found.Check(0))
	// Output:
	// set up:
	// created KV_lethe-control
	// created DELETION_REQUESTS
	// created DELETION_RESULTS
	// created DELETION_LATER
	// set up:
	// problem: <nil>
}
