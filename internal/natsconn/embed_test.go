package natsconn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func embed(t *testing.T, dir string) *Embedded {
	t.Helper()
	e, err := Embed(EmbedConfig{Dir: dir, Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := Connect(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestStoredMessagesSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when", "missing")
	first := embed(t, dir)
	nc := connect(t, first.URL())
	if err := CheckServer(t.Context(), nc, ""); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "kept", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	first.Close()
	first.Close() // does nothing

	js, err = jetstream.New(connect(t, embed(t, dir).URL()))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if string(msg.Data) != "hello" {
		t.Errorf("found %q, want hello", msg.Data)
	}
}

func TestSyncIsPassedToTheServer(t *testing.T) {
	for _, sync := range []time.Duration{0, 3 * time.Second} {
		t.Run(sync.String(), func(t *testing.T) {
			e, err := Embed(EmbedConfig{Dir: t.TempDir(), Addr: "127.0.0.1:0", Sync: sync})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			got := e.server.JetStreamConfig()
			if got.SyncAlways != (sync == 0) || sync != 0 && got.SyncInterval != sync {
				t.Errorf("the server syncs always %t, every %s", got.SyncAlways, got.SyncInterval)
			}
		})
	}
}

func TestADirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	first := embed(t, dir)
	_, err := Embed(EmbedConfig{Dir: dir, Addr: "127.0.0.1:0"})
	want := fmt.Sprintf("LETHE_EMBEDDED_DIR: the directory is in use: process %d has locked %s", os.Getpid(), dir)
	if !errors.Is(err, ErrLocked) || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	first.Close()
	embed(t, dir) // unlocked
}

func TestErrorsOfTheEmbeddedServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := t.TempDir()
	if err := os.WriteFile(filepath.Join(blocked, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()

	tests := []struct {
		name, dir, addr string
		want            error
		prefix          string
	}{
		{"an address that is in use", t.TempDir(), taken.Addr().String(), ErrAddrInUse, "LETHE_EMBEDDED_ADDR: "},
		{"an address that is not this machine's", t.TempDir(), "192.0.2.1:4222", ErrSettings, "LETHE_EMBEDDED_ADDR: "},
		{"an address without port", t.TempDir(), "127.0.0.1", ErrSettings, "LETHE_EMBEDDED_ADDR: "},
		{"an invalid port", t.TempDir(), "127.0.0.1:x", ErrSettings, "LETHE_EMBEDDED_ADDR: "},
		{"a file for a directory", file, "127.0.0.1:0", ErrSettings, "LETHE_EMBEDDED_DIR: "},
		{"a directory that is not writable", blocked, "127.0.0.1:0", ErrSettings, "LETHE_EMBEDDED_DIR: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var logged logBuffer
			_, err := Embed(EmbedConfig{Dir: tt.dir, Addr: tt.addr, Log: logged.logger()})
			if !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), tt.prefix) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line that begins with %q and is %q", err, tt.prefix, tt.want)
			}
		})
	}
}

func TestAnAddressOtherThanLoopbackIsAWarning(t *testing.T) {
	for addr, warned := range map[string]bool{"0.0.0.0:0": true, ":0": true, "127.0.0.1:0": false, "localhost:0": false} {
		t.Run(addr, func(t *testing.T) {
			var logged logBuffer
			e, err := Embed(EmbedConfig{Dir: t.TempDir(), Addr: addr, Log: logged.logger()})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if got := strings.Contains(logged.String(), "has no authentication"); got != warned {
				t.Errorf("warned: %t, want %t; log: %s", got, warned, logged.String())
			}
			connect(t, e.URL()).Close()
		})
	}
}
