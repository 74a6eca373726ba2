package natsconn

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func TestTheConnectionReconnects(t *testing.T) {
	s := startServer(t, &server.Options{})
	port := s.Addr().(*net.TCPAddr).Port
	var logged logBuffer
	nc, err := Connect(t.Context(), Config{URL: s.ClientURL(), Wait: true, Log: logged.logger(), OnFatal: func(err error) {
		t.Errorf("fatal: %v", err)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if nc.Opts.MaxReconnect >= 0 {
		t.Errorf("it stops after %d tries", nc.Opts.MaxReconnect)
	}
	stopServer(s)
	eventually(t, "a log line about the lost connection", func() bool { return strings.Contains(logged.String(), "connection to NATS lost") })
	if err := nc.Publish("some.subject", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publishing without a server: %v, want it to fail immediately", err)
	}
	startServer(t, &server.Options{Port: port})
	eventually(t, "a log line about the new connection", func() bool { return strings.Contains(logged.String(), "connected to NATS again") })
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		t.Error(err)
	}
	closeAndWait(t, nc)
}

func TestATemporarilyRefusedPasswordIsNotFatal(t *testing.T) {
	guard := func(port int, password string) *server.Server {
		return startServer(t, &server.Options{Port: port, Username: "u", Password: password})
	}
	s := guard(0, "right")
	port := s.Addr().(*net.TCPAddr).Port
	var logged logBuffer
	nc, err := Connect(t.Context(), Config{URL: "nats://u:right@" + s.Addr().String(), Log: logged.logger(), OnFatal: func(err error) {
		t.Errorf("fatal: %v", err)
	}})
	if err != nil {
		t.Fatal(err)
	}
	stopServer(s)
	s = guard(port, "other")
	eventually(t, "three refusals", func() bool { return nc.Stats().Reconnects >= 3 })
	stopServer(s)
	guard(port, "right")
	eventually(t, "connected again", nc.IsConnected)
	if !strings.Contains(logged.String(), "authorization violation") {
		t.Errorf("the log has no reason: %s", logged.String())
	}
	closeAndWait(t, nc)
}

func TestAMissingPermissionIsFatalAndNamesItsSubject(t *testing.T) {
	deny := func(subject string) *server.SubjectPermission {
		return &server.SubjectPermission{Deny: []string{subject}}
	}
	s := startServer(t, &server.Options{Users: []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
		Publish: deny("no.publish"), Subscribe: deny("no.subscribe"),
	}}}})
	tests := []struct {
		name, subject string
		do            func(*nats.Conn) error
	}{
		{"to publish", "no.publish", func(nc *nats.Conn) error {
			return errors.Join(nc.Publish("no.publish", nil), nc.Publish("no.publish", nil))
		}},
		{"to subscribe", "no.subscribe", func(nc *nats.Conn) error {
			_, err := nc.SubscribeSync("no.subscribe")
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fatal := make(chan error, 10)
			var logged logBuffer
			nc, err := Connect(t.Context(), Config{URL: "nats://u:p@" + s.Addr().String(), Log: logged.logger(), OnFatal: func(err error) { fatal <- err }})
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.do(nc); err != nil {
				t.Fatal(err)
			}
			err = <-fatal
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+tt.subject+`"`) {
				t.Errorf("fatal error %v, want a permission violation that names %s", err, tt.subject)
			}
			closeAndWait(t, nc)
			select {
			case err := <-fatal:
				t.Errorf("reported twice: %v", err)
			default:
			}
		})
	}
}

func TestAConnectionClosedByTheLibraryIsFatal(t *testing.T) {
	addr := fakeServer(t, `INFO {"server_id":"x","version":"2.12.0","jetstream":true,"max_payload":1048576}`, "PONG", "-ERR 'Something New'")
	fatal := make(chan error, 10)
	var logged logBuffer
	nc, err := Connect(t.Context(), Config{URL: addr, Log: logged.logger(), OnFatal: func(err error) { fatal <- err }})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := <-fatal; !strings.Contains(err.Error(), "Something New") {
		t.Errorf("fatal error %v, want the error of the server", err)
	}
}

func TestClosingIsNotFatal(t *testing.T) {
	s := startServer(t, &server.Options{})
	tests := []struct {
		name   string
		before func(*testing.T, *nats.Conn, *logBuffer)
		logs   string
	}{
		{"after nothing", func(*testing.T, *nats.Conn, *logBuffer) {}, ""},
		{"after a reported error", func(t *testing.T, nc *nats.Conn, logged *logBuffer) {
			sub, err := nc.SubscribeSync("flood")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(sub.SetPendingLimits(1, -1), nc.Publish("flood", nil), nc.Publish("flood", nil), nc.Flush()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a log line", func() bool { return strings.Contains(logged.String(), "subject=flood") })
		}, "slow consumer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var logged logBuffer
			nc, err := Connect(t.Context(), Config{URL: s.ClientURL(), Log: logged.logger(), OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
			if err != nil {
				t.Fatal(err)
			}
			tt.before(t, nc, &logged)
			closeAndWait(t, nc)
			if got := logged.String(); !strings.Contains(got, tt.logs) || strings.Contains(got, "level=ERROR") || tt.logs == "" && got != "" {
				t.Errorf("logged %s", got)
			}
		})
	}
}

func TestLogLimiter(t *testing.T) {
	start := time.Now()
	limiter := logLimiter{}
	for _, step := range []struct {
		after   time.Duration
		problem string
		want    bool
	}{
		{0, "a", true}, {0, "b", true}, {time.Second, "a", false}, {time.Second, "b", false}, {logEvery, "a", true}, {logEvery + time.Second, "a", false},
	} {
		if got := limiter.allow(step.problem, start.Add(step.after)); got != step.want {
			t.Errorf("%s after %s: %t, want %t", step.problem, step.after, got, step.want)
		}
	}
	for i := range 10_000 {
		limiter.allow(time.Duration(i).String(), start)
	}
	if len(limiter) > 32 {
		t.Errorf("it remembers %d problems", len(limiter))
	}
}

// closeAndWait closes the connection and waits for the handlers. The closed handler is the last that nats.go calls.
func closeAndWait(t *testing.T, nc *nats.Conn) {
	t.Helper()
	ours, closed := nc.ClosedHandler(), make(chan struct{})
	nc.SetClosedHandler(func(nc *nats.Conn) { ours(nc); close(closed) })
	nc.Close()
	<-closed
}
