package natsconn_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/lethe-dev/lethe/internal/natsconn"
)

// The embedded server stores messages in a directory that one process can use at a time.
func ExampleEmbed() {
	dir, err := os.MkdirTemp("", "lethe-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := natsconn.Embed(natsconn.EmbedConfig{Dir: dir, Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err) // names the variable to change: LETHE_EMBEDDED_DIR or LETHE_EMBEDDED_ADDR
	}
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: server.URL(), Command: "example"})
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	fmt.Println("connected to the embedded server:", natsconn.ConnectedURL(nc) == server.URL())
	fmt.Println("problem:", natsconn.CheckServer(context.Background(), nc, ""))
	// Output:
	// connected to the embedded server: true
	// problem: <nil>
}

// Without Wait, Connect returns an error of one line that names the variable to check and shows no password.
func ExampleConnect() {
	_, err := natsconn.Connect(context.Background(), natsconn.Config{URL: "nats://user:hidden@127.0.0.1:1"})
	fmt.Println(err)
	// Output:
	// LETHE_NATS_URL: cannot reach NATS at nats://127.0.0.1:1: connection refused
}

// ParseURLs reads the URLs of several servers. Its errors never show the list, which may contain a password.
func ExampleParseURLs() {
	urls, err := natsconn.ParseURLs("nats://a.example.com,b.example.com:4223")
	if err != nil {
		log.Fatal(err)
	}
	for _, u := range urls {
		fmt.Println(u.Scheme, u.Host)
	}
	_, err = natsconn.ParseURLs("nats://user:pa/ss@a.example.com")
	fmt.Println(err)
	// Output:
	// nats a.example.com
	// nats b.example.com:4223
	// must be a URL such as nats://nats.example.com:4222, or several separated by commas; percent-encode special characters in a password
}
