// Package e2e runs the programs of a trial as processes of their own: Lethe,
// the sandbox and a NATS server, built from this module, so that they can be
// killed, stopped, cut off and started again as in life.
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

// Program names one that [Build] builds.
type Program string

// The programs of a trial.
const (
	Lethe          Program = "lethe"      // what a user runs
	WithFailpoints Program = "failpoints" // Lethe that can die or stop at a point: package failpoint
	NATSServer     Program = "natsserver" // the nats-server of go.mod's version, or the one that LETHE_TEST_NATS_SERVER names
)

// Build builds programs into dir with the go command, which must be there, and
// returns their paths.
func Build(ctx context.Context, dir string, programs ...Program) (map[Program]string, error) {
	if err := lookAtSources(ctx); err != nil {
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

// lookAtSources looks at every file that the programs are built from. `go test`
// repeats a result that it has as long as the files that a test looked at are
// the same; it cannot know what is built.
func lookAtSources(ctx context.Context) error {
	root, err := moduleDir(ctx)
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

// firstPort and those after it are what FreeAddress gives: below the range from which Linux takes the
// ports of outgoing connections (32768, says ip(7)), or one of those could take an
// address before its program listens there.
const firstPort, ports = 20_000, 12_000

// nextPort begins anywhere, for tests of several packages run at the same time.
var nextPort = func() *atomic.Uint32 {
	var n atomic.Uint32
	n.Store(rand.Uint32N(ports))
	return &n
}()

// FreeAddress returns a loopback address that nobody listens on now, another one
// each time.
func FreeAddress() (string, error) {
	var err error
	for range ports {
		var listener net.Listener
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+nextPort.Add(1)%ports)
		if listener, err = net.Listen("tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

// Listening waits until somebody listens on an address.
func Listening(ctx context.Context, address string) error {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody listens on %s: %w", address, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}
