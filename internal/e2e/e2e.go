// Package e2e runs Lethe, the fake APIs and a NATS server as processes, built from this
// module, so that end-to-end tests can kill, stop, disconnect and restart them.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Program names a binary that [Build] builds.
type Program string

// The programs.
const (
	Lethe          Program = "lethe"      // the production binary
	WithFailpoints Program = "failpoints" // Lethe with the crash points of package failpoint
	NATSServer     Program = "natsserver" // nats-server at go.mod's version, or the binary in LETHE_TEST_NATS_SERVER
)

// Build builds programs into dir with the go command, which must be in PATH, and
// returns their paths.
func Build(ctx context.Context, dir string, programs ...Program) (map[Program]string, error) {
	if err := statSources(ctx); err != nil {
		return nil, err
	}
	paths := map[Program]string{}
	for _, p := range programs {
		if p == NATSServer && serverPath() != "" {
			paths[p] = serverPath()
			continue
		}
		paths[p] = filepath.Join(dir, string(p))
		args := []string{"build", "-buildvcs=false", "-o", paths[p]}
		switch p {
		case Lethe:
			args = append(args, "github.com/lethe-dev/lethe/cmd/lethe")
		case WithFailpoints:
			args = append(args, "-tags", "failpoint", "github.com/lethe-dev/lethe/cmd/lethe")
		case NATSServer:
			args = append(args, "github.com/nats-io/nats-server/v2")
		}
		if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w: %s", p, err, bytes.TrimSpace(out))
		}
	}
	return paths, nil
}

// statSources calls stat on every source file of the programs. `go test` reuses a
// cached result while the files that the test opened or checked are unchanged; it
// does not see what `go build` reads.
func statSources(ctx context.Context) error {
	root, err := ModuleDir(ctx)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		_, err = os.Stat(path)
		return err
	})
}

// FreeAddress picks from these ports. They are below the range that Linux uses for outgoing
// connections (from 32768, ip(7)), because such a connection could take the address before
// the program listens on it.
const firstPort, ports = 20_000, 12_000

// nextPort starts at a random port because tests of several packages run at the same time.
var nextPort = func() *atomic.Uint32 {
	var n atomic.Uint32
	n.Store(rand.Uint32N(ports))
	return &n
}()

// FreeAddress returns a loopback address with a free port, a different one on each call
// and in each process: it reserves the port by binding the UDP port of the same number
// until the process exits.
func FreeAddress() (string, error) {
	var err error
	for range ports {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+nextPort.Add(1)%ports)
		if _, err = net.ListenPacket("udp", address); err != nil {
			continue
		}
		var listener net.Listener
		if listener, err = net.Listen("tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

// WaitListening waits until a process listens on address, or until ctx ends.
func WaitListening(ctx context.Context, address string) error {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a listener on %s: %w", address, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}
