package natsconn

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

func TestCheckServer(t *testing.T) {
	info := func(version string, jetstream bool) []string {
		return []string{fmt.Sprintf(`INFO {"server_id":"x","version":%q,"jetstream":%t,"headers":true,"max_payload":1048576}`, version, jetstream), "PONG"}
	}
	tests := []struct {
		name string
		url  string
		want error
		text string
	}{
		{"the oldest server passes", fakeServer(t, info("2.12.0", true)...), nil, ""},
		{"a newer one passes", fakeServer(t, info("2.100.0", true)...), nil, ""},
		{"a pre-release of the oldest passes", fakeServer(t, info("2.12.0-RC.1", true)...), nil, ""},
		{"an older one does not", fakeServer(t, info("2.11.0", true)...), ErrServerTooOld, `found version "2.11.0", need 2.12.0 or newer`},
		{"a version that cannot be read does not", fakeServer(t, info("new", true)...), ErrServerTooOld, `found version "new"`},
		{"a real one with JetStream passes", startServer(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL(), nil, ""},
		{"a real one without JetStream does not", startServer(t, &server.Options{}).ClientURL(), ErrNoJetStream, "with --jetstream"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var logged logBuffer
			nc, err := Connect(t.Context(), Config{URL: tt.url, Log: logged.logger()})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			err = CheckServer(t.Context(), nc, "")
			if !errors.Is(err, tt.want) {
				t.Fatalf("CheckServer() = %v, want %v", err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("CheckServer() = %q, want it to contain %q", err, tt.text)
			}
		})
	}
}
