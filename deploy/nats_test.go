package deploy

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestComposeServer(t *testing.T) {
	opts, err := server.ProcessConfigFile("nats/compose.conf")
	if err != nil {
		t.Fatal(err)
	}

	t.Run("an acknowledged message is on the disk", func(t *testing.T) {
		if !opts.JetStream || !opts.SyncAlways {
			t.Errorf("jetstream %t, sync always %t; want both", opts.JetStream, opts.SyncAlways)
		}
	})
	t.Run("its files are where the volume is", func(t *testing.T) {
		volumes := readCompose(t).Services["nats"].Volumes
		if want := "nats-data:" + opts.StoreDir; !slices.Contains(volumes, want) {
			t.Errorf("volumes are %q, want %q among them", volumes, want)
		}
	})
	t.Run("an event over the contract's 64 KiB still reaches the worker", func(t *testing.T) {
		if opts.MaxPayload < 2*64<<10 {
			t.Errorf("max_payload is %d", opts.MaxPayload)
		}
	})
	t.Run("it starts, stores schedules, and says that it syncs what it stores", func(t *testing.T) {
		opts := opts.Clone()
		opts.Host, opts.Port, opts.HTTPHost, opts.HTTPPort = "127.0.0.1", server.RANDOM_PORT, "127.0.0.1", server.RANDOM_PORT
		opts.StoreDir, opts.NoLog, opts.NoSigs = t.TempDir(), true, true
		url := start(t, opts)
		storeScheduled(t, url)
		nc, err := nats.Connect(url)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		msg, err := nc.Request("$SYS.REQ.SERVER.PING.JSZ", nil, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(msg.Data), `"sync_always":true`) {
			t.Errorf("it says %s", msg.Data)
		}
	})
}

func TestProductionServers(t *testing.T) {
	files(t)
	for _, name := range []string{"server.conf", "cluster.conf"} {
		opts := options(t, name)
		t.Run(name+": an acknowledged message is on the disk", func(t *testing.T) {
			if !opts.JetStream || !opts.SyncAlways {
				t.Errorf("jetstream %t, sync always %t; want both", opts.JetStream, opts.SyncAlways)
			}
		})
		t.Run(name+": an event over the contract's 64 KiB still reaches the worker", func(t *testing.T) {
			if opts.MaxPayload < 2*64<<10 {
				t.Errorf("max_payload is %d", opts.MaxPayload)
			}
		})
		t.Run(name+": there is no way in but with a client's certificate", func(t *testing.T) {
			if opts.TLSConfig == nil || opts.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert || !opts.TLSMap || opts.AllowNonTLS || opts.NoAuthUser != "" {
				t.Error("TLS is not verified and mapped for every client")
			}
			if opts.HTTPPort != 0 || opts.HTTPSPort != 0 || opts.Websocket.Port != 0 || opts.MQTT.Port != 0 || opts.LeafNode.Port != 0 || opts.Gateway.Port != 0 {
				t.Error("another port is open")
			}
		})
	}
}

// start runs a server until the test ends, and gives its address.
func start(t *testing.T, opts *server.Options) string {
	t.Helper()
	_, url := startServer(t, opts)
	return url
}

func startServer(t *testing.T, opts *server.Options) (*server.Server, string) {
	t.Helper()
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server did not come up")
	}
	return s, s.ClientURL()
}

// storeScheduled makes a stream on disk of the kind that the worker needs the newest features for.
func storeScheduled(t *testing.T, url string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "LATER", Subjects: []string{"later.>", "due.>"}, Storage: jetstream.FileStorage, AllowMsgSchedules: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	_, err = js.PublishMsg(t.Context(), &nats.Msg{Subject: "later.one", Header: nats.Header{
		"Nats-Schedule":        {"@at " + at},
		"Nats-Schedule-Target": {"due.one"},
	}})
	if err != nil {
		t.Errorf("a schedule was refused: %v", err)
	}
}
