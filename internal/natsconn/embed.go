package natsconn

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/lethe-dev/lethe/internal/address"
)

// startWithin is how long the embedded server may take to accept connections after it has read its files.
const startWithin = 10 * time.Second

// EmbedConfig configures the embedded server.
type EmbedConfig struct {
	// Dir is the data directory. It is created if it is missing, and locked while the server runs.
	Dir string
	// Addr is host:port; port 0 means a free port. The server has no authentication, so an address other than
	// loopback is logged as a warning.
	Addr string
	// Sync is the interval at which messages are synced to disk. 0 syncs each message before it is acknowledged, so
	// that it survives a power cut.
	Sync time.Duration
	// Log receives the server's warnings and errors. nil means slog.Default().
	Log *slog.Logger
}

// Embedded is a NATS server with JetStream in this process.
type Embedded struct {
	server *server.Server
	lock   *flock.Flock
	close  sync.Once
}

// Embed starts a server and returns when it accepts connections. Its errors begin with the variable's name. They are
// ErrLocked if another process uses the directory, ErrAddrInUse if the address is in use, or ErrSettings.
func Embed(c EmbedConfig) (*Embedded, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	host, port, err := splitAddr(c.Addr)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	e := &Embedded{lock: lock}
	if err := e.start(c, host, port); err != nil {
		e.Close()
		return nil, err
	}
	if !address.IsLoopback(host) {
		c.Log.Warn("the embedded NATS server has no authentication and listens on an address other than loopback", "addr", c.Addr)
	}
	return e, nil
}

func (e *Embedded) start(c EmbedConfig, host string, port int) error {
	log := &serverLog{log: c.Log}
	s, err := server.NewServer(&server.Options{
		ServerName:   "lethe-embedded",
		Host:         host,
		Port:         port,
		JetStream:    true,
		StoreDir:     c.Dir,
		SyncAlways:   c.Sync == 0,
		SyncInterval: c.Sync,
		NoSigs:       true,
	})
	if err != nil {
		return fmt.Errorf("embedded NATS server: %w", err)
	}
	s.SetLoggerV2(log, false, false, false)
	e.server = s
	s.Start()
	if err := log.fatal(); err != nil {
		return startError(c, err)
	}
	if !s.ReadyForConnections(startWithin) {
		return fmt.Errorf("embedded NATS server: not ready within %s", startWithin)
	}
	return nil
}

// URL returns the URL for clients on this machine.
func (e *Embedded) URL() string {
	addr := e.server.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// Close shuts the server down, waits for that, and unlocks the directory. Further calls do nothing.
func (e *Embedded) Close() {
	e.close.Do(func() {
		if e.server != nil {
			e.server.Shutdown()
			e.server.WaitForShutdown()
		}
		_ = e.lock.Unlock() // the lock ends with the process anyway
	})
}

// splitAddr replaces port 0 by -1, which means a free port to the server; its 0 means 4222.
func splitAddr(addr string) (string, int, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("LETHE_EMBEDDED_ADDR: %w: %q is not host:port", ErrSettings, addr)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("LETHE_EMBEDDED_ADDR: %w: %q has no port from 0 to 65535", ErrSettings, addr)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(port), nil
}

// lockDir locks the directory, because two servers would corrupt the files and the server itself takes no lock. The
// file contains the owner's process id, for the error of another process.
func lockDir(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, dirError(err)
	}
	path := filepath.Join(dir, "lethe.lock")
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, dirError(err)
	}
	if !locked {
		_ = lock.Close()
		owner := "another process"
		if pid, err := os.ReadFile(path); err == nil && len(pid) > 0 && len(pid) < 20 {
			owner = "process " + strings.TrimSpace(string(pid))
		}
		return nil, fmt.Errorf("LETHE_EMBEDDED_DIR: %w: %s has locked %s", ErrLocked, owner, dir)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		_ = lock.Unlock()
		return nil, dirError(err)
	}
	return lock, nil
}

func dirError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("LETHE_EMBEDDED_DIR: %w: %w; user %d (group %d) must be able to write there", ErrSettings, err, os.Getuid(), os.Getgid())
	}
	return fmt.Errorf("LETHE_EMBEDDED_DIR: %w: %w", ErrSettings, err)
}

func startError(c EmbedConfig, err error) error {
	var listen *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("LETHE_EMBEDDED_ADDR: %w: another process listens on %s", ErrAddrInUse, c.Addr)
	case errors.As(err, &listen):
		return fmt.Errorf("LETHE_EMBEDDED_ADDR: %w: %w", ErrSettings, err)
	default:
		return fmt.Errorf("LETHE_EMBEDDED_DIR: %w: %w", ErrSettings, err)
	}
}
