package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startTimeout is how long a server may take until it accepts connections.
const startTimeout = 30 * time.Second

// serverPath is the path in LETHE_TEST_NATS_SERVER of the nats-server for the tests, or "" for the version of
// go.mod.
func serverPath() string { return os.Getenv("LETHE_TEST_NATS_SERVER") }

// Server is a NATS server for a test, in the test process or in a separate process.
type Server interface {
	ClientURL() string
	Addr() net.Addr   // the address for clients
	StoreDir() string // [ServerConfig.Dir] for a later server with the same data
	Shutdown()        // starts the shutdown; further calls do nothing
	WaitForShutdown()
}

// ServerConfig configures a [Server], which listens on 127.0.0.1 with JetStream enabled.
type ServerConfig struct {
	Dir            string // data directory
	Port           int    // 0: a free port
	MaxStore       int64  // disk limit for streams in bytes; 0: the server's default
	User, Password string // "": no authentication
}

// StartServer starts a server and returns when it accepts connections. If LETHE_TEST_NATS_SERVER holds the
// path of a nats-server, that binary runs as a separate process; otherwise the version of go.mod runs in this process.
func StartServer(c ServerConfig) (Server, error) {
	if path := serverPath(); path != "" {
		return startProcess(path, c)
	}
	port := c.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: c.Dir, JetStreamMaxStore: c.MaxStore,
		Username: c.User, Password: c.Password, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		return nil, fmt.Errorf("nats-server accepts no connections after %s", startTimeout)
	}
	return inProcess{s, c.Dir}, nil
}

// Serve starts a server for the duration of a test and returns it with a connection, which does not reconnect.
func Serve(t testing.TB, c ServerConfig) (Server, jetstream.JetStream) {
	t.Helper()
	s, err := StartServer(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(c.User, c.Password), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return s, js
}

// inProcess is a [Server] in this process.
type inProcess struct {
	*server.Server
	dir string
}

func (p inProcess) StoreDir() string { return p.dir } // the server's own value is a folder in it

// process is a [Server] that runs as a separate process.
type process struct {
	Process
	addr net.TCPAddr
	dir  string
}

func startProcess(path string, c ServerConfig) (Server, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	if c.Port != 0 {
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port))
	}
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("listen: %q\njetstream { store_dir: %q", address, c.Dir)
	if c.MaxStore > 0 {
		config += fmt.Sprintf(", max_file_store: %d", c.MaxStore)
	}
	config += " }\n"
	if c.User != "" {
		config += fmt.Sprintf("authorization { user: %q, password: %q }\n", c.User, c.Password)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(c.Dir, "server.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p := &process{addr: *addr, dir: c.Dir, Process: Process{
		Name: filepath.Base(path), Path: path, Args: []string{"--config", file}, Log: filepath.Join(c.Dir, "server.log"),
	}}
	if err := p.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	go func() { // stop waiting when the process has exited
		select {
		case <-p.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := WaitListening(ctx, address); err != nil {
		p.Kill()
		return nil, errors.Join(err, errors.New(p.Tail(3)))
	}
	return p, nil
}

func (p *process) ClientURL() string { return "nats://" + p.addr.String() }
func (p *process) Addr() net.Addr    { return &p.addr }
func (p *process) StoreDir() string  { return p.dir }
func (p *process) Shutdown()         { _ = p.End(startTimeout) }
func (p *process) WaitForShutdown()  {} // [process.Shutdown] has waited
