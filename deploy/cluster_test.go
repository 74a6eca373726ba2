package deploy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// newCluster starts cluster.conf three times, on loopback. It does not wait until they have elected a leader.
func newCluster(t *testing.T) []*site {
	t.Helper()
	dir, err := made()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.Getwd()
	if err == nil {
		err = os.Chdir(dir) // t.Chdir is not for a test that becomes parallel
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Chdir(home) }() // where it came from
	certify(t)
	var routes []*url.URL
	var addresses []string
	for range 3 {
		address, err := e2e.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, address)
		routes = append(routes, &url.URL{Scheme: "tls", Host: address})
	}
	var configurations []*server.Options
	for i := range addresses {
		opts := options(t, "cluster.conf")
		opts.ServerName = fmt.Sprintf("nats-%d", i+1)
		opts.Cluster.Host, opts.Cluster.Port = "127.0.0.1", 0
		if _, err := fmt.Sscanf(addresses[i], "127.0.0.1:%d", &opts.Cluster.Port); err != nil {
			t.Fatal(err)
		}
		opts.Routes = routes
		// What acknowledgements look like once the server's newer form is its default.
		opts.FeatureFlags = map[string]bool{server.FeatureFlagJsAckFormatV2: true}
		addOwners(t, opts)
		configurations = append(configurations, opts)
	}
	// At the same time, or the first would wait for the others before its next try.
	sites := make([]*site, len(configurations))
	var starting sync.WaitGroup
	for i, opts := range configurations {
		starting.Go(func() {
			s, err := server.NewServer(opts)
			if err != nil {
				t.Error(err)
				return
			}
			s.Start()
			t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
			sites[i] = &site{dir: dir, url: s.ClientURL(), server: s}
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return sites
}

func TestCluster(t *testing.T) {
	sites := newCluster(t)
	t.Parallel() // the other tests run while they elect
	until(t, "the cluster has a leader that knows the others", func() error {
		for _, s := range sites {
			if s.server.JetStreamIsLeader() && len(s.server.JetStreamClusterPeers()) == len(sites) {
				return nil
			}
		}
		return errors.New("it has not")
	})
	apis := fakeapi.New(fakeapi.Config{})
	web := httptest.NewServer(apis)
	t.Cleanup(func() { web.Close(); _ = apis.Close() })
	script(t, apis, fakeapi.Context(11), fakeapi.Step{Fault: "503"})

	t.Run("every party does its work, each on another server", func(t *testing.T) {
		until(t, "lethe setup", func() error { // an election may be going on
			return wantOutput(sites[0].runWith(t, append(sites[0].settings("admin"), "LETHE_STREAM_REPLICAS=3"), "setup"), "ready: DELETION_LATER")
		})
		sites[1].worker(t, web.URL)
		for _, id := range []string{"10", "11"} {
			sites[2].run(t, "publisher-kv", "request", "kv-user-context", "--id", id, "--request-id", "kv-"+id).must(t)
		}
		followed := sites[0].run(t, "subscriber", "results", "--follow", "--limit", "2", "--output", "json").must(t)
		if got, want := outcomes(t, followed.stdout), []string{"kv-10 deleted", "kv-11 deleted"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("what was done is acknowledged, in the servers' newer form too", func(t *testing.T) {
		until(t, "nothing is left", func() error {
			for _, stream := range []string{"DELETION_REQUESTS", "DELETION_LATER"} {
				if n := sites[0].stored(t, "LETHE", stream); n != 0 {
					return fmt.Errorf("%d on %s", n, stream)
				}
			}
			return nil
		})
	})
	t.Run("every server syncs what it stores, and says so", func(t *testing.T) {
		nc := sites[0].connect(t, "admin")
		answers, err := nc.SubscribeSync(nc.NewInbox())
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("$SYS.REQ.SERVER.PING.JSZ", answers.Subject, nil); err != nil {
			t.Fatal(err)
		}
		for range sites {
			msg, err := answers.NextMsg(5 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(msg.Data), `"sync_always":true`) {
				t.Errorf("got %s", msg.Data)
			}
		}
	})
	t.Run("a route's certificate joins the cluster, a party's does not", func(t *testing.T) {
		for name, welcome := range map[string]bool{"route": true, "admin": false, "server": false, "": false} {
			config := sites[0].tlsConfig(t, "routes-ca.pem", name)
			if got := joins(t, sites[0].server.ClusterAddr().String(), config); got != welcome {
				t.Errorf("with the certificate of %q: %t", name, got)
			}
		}
	})
}

// joins says whether a route port speaks to who comes with this certificate. TLS 1.3 tells a client that it is refused
// only after its own handshake.
func joins(t *testing.T, address string, config *tls.Config) bool {
	t.Helper()
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a connection has one
	greeting := make([]byte, 4)
	n, err := conn.Read(greeting)
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() {
		t.Errorf("neither refused nor greeted: %v", err)
	}
	return string(greeting[:n]) == "INFO"
}
