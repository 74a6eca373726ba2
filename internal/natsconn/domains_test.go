package natsconn

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// joined are two servers with separate JetStream domains, connected by a leaf node.
func joined(t *testing.T) (hub, leaf *server.Server) {
	t.Helper()
	hub = startServer(t, &server.Options{
		ServerName: "hub", JetStream: true, JetStreamDomain: "hub", StoreDir: t.TempDir(),
		LeafNode: server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT},
	})
	remote := &url.URL{Scheme: "nats-leaf", Host: fmt.Sprintf("127.0.0.1:%d", leafPort(t, hub))}
	leaf = startServer(t, &server.Options{
		ServerName: "leaf", JetStream: true, JetStreamDomain: "leaf", StoreDir: t.TempDir(),
		LeafNode: server.LeafNodeOpts{Remotes: []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}}}},
	})
	eventually(t, "the leaf is joined", func() bool { return hub.NumLeafNodes() == 1 && leaf.NumLeafNodes() == 1 })
	return hub, leaf
}

func leafPort(t *testing.T, hub *server.Server) int {
	t.Helper()
	info, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return info.LeafNode.Port
}

func streamsOf(t *testing.T, s *server.Server, domain string) jetstream.JetStream {
	t.Helper()
	nc, err := Connect(t.Context(), Config{URL: s.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := JetStream(nc, domain)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestCheckDomains(t *testing.T) {
	hub, leaf := joined(t)
	subjects := map[string]string{"things.a": "THINGS", "things.b": "THINGS"}
	add := func(js jetstream.JetStream) {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "THINGS", Subjects: []string{"things.*"}}); err != nil {
			t.Fatal(err)
		}
	}
	atHub, atLeaf, hubFromLeaf := streamsOf(t, hub, ""), streamsOf(t, leaf, ""), streamsOf(t, leaf, "hub")
	check := func(step string, want map[string]error) {
		t.Helper()
		for name, js := range map[string]jetstream.JetStream{"hub": atHub, "leaf": atLeaf, "hub from the leaf": hubFromLeaf} {
			err := CheckDomains(t.Context(), js, subjects)
			if !errors.Is(err, want[name]) {
				t.Errorf("%s, %s: %v, want %v", step, name, err, want[name])
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "LETHE_JETSTREAM_DOMAIN: ") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%s, %s: not one line that names the variable: %v", step, name, err)
			}
		}
	}
	check("no streams", nil)
	add(atHub)
	eventually(t, "the leaf sees the hub's stream", func() bool {
		return errors.Is(CheckDomains(t.Context(), atLeaf, subjects), ErrTwoDomains)
	})
	check("streams at the hub", map[string]error{"leaf": ErrTwoDomains})
	add(atLeaf)
	eventually(t, "the hub sees the leaf's stream", func() bool {
		return errors.Is(CheckDomains(t.Context(), atHub, subjects), ErrTwoDomains)
	})
	check("streams at both", map[string]error{"hub": ErrTwoDomains, "leaf": ErrTwoDomains, "hub from the leaf": ErrTwoDomains})

	for _, js := range []jetstream.JetStream{atHub, atLeaf} {
		stream, err := js.Stream(t.Context(), "THINGS")
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().State.LastSeq; n != 0 {
			t.Errorf("%d messages are stored", n)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := CheckDomains(ended, atHub, subjects); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestJetStreamOfADomain(t *testing.T) {
	hub, leaf := joined(t)
	nc, err := Connect(t.Context(), Config{URL: leaf.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := CheckServer(t.Context(), nc, "hub"); err != nil {
		t.Error(err)
	}
	info, err := streamsOf(t, leaf, "hub").AccountInfo(t.Context())
	if err != nil || info.Domain != "hub" {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := streamsOf(t, hub, "nowhere").AccountInfo(t.Context()); err == nil {
		t.Error("a domain that does not exist answers")
	}
	for _, tt := range [][3]string{{"$JS.API.INFO", "", "$JS.API.INFO"}, {"$JS.API.INFO", "hub", "$JS.hub.API.INFO"}, {"$SYS.X", "hub", "$SYS.X"}} {
		if got := InDomain(tt[0], tt[1]); got != tt[2] {
			t.Errorf("InDomain(%q, %q) = %q, want %q", tt[0], tt[1], got, tt[2])
		}
	}
}

func TestADirectoryOfAnotherUserNamesTheUser(t *testing.T) {
	err := dirError(&os.PathError{Op: "open", Path: "/data/lethe.lock", Err: syscall.EACCES})
	want := fmt.Sprintf("LETHE_EMBEDDED_DIR: wrong setting: open /data/lethe.lock: permission denied; user %d (group %d) must be able to write there", os.Getuid(), os.Getgid())
	if !errors.Is(err, ErrSettings) || err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}
