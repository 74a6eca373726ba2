package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/internal/e2e"
)

// The scripts run the program as separate processes.
func TestMain(m *testing.M) { testscript.Main(tidied{m}, map[string]func(){"lethe": main}) }

// tidied removes the built program, and fails if passing tests leave goroutines
// behind.
type tidied struct{ *testing.M }

func (m tidied) Run() int {
	e2e.Parallel(8)
	defer func() { _ = os.RemoveAll(built.dir) }()
	code := m.M.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// built is the program, built with go build.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// buildLethe builds the program, once for all tests.
func buildLethe(t *testing.T) (path string) {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "lethe-test"); built.err != nil {
			return
		}
		var paths map[e2e.Program]string
		paths, built.err = e2e.Build(context.Background(), built.dir, e2e.Lethe)
		built.path = paths[e2e.Lethe]
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// TestScripts runs testdata/script. NATS, API and ADMIN are free addresses in each
// script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"NATS", "API", "ADMIN"} {
				address, err := freeAddress()
				if err != nil {
					return err
				}
				env.Setenv(name, address)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"until": until, "request": request},
	})
}

// until repeats a command until it succeeds and its output contains the text after -out=.
func until(ts *testscript.TestScript, neg bool, args []string) {
	pattern, wanted := strings.CutPrefix(args[0], "-out=")
	if wanted {
		args = args[1:]
	}
	deadline := time.Now().Add(time.Minute)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil && (!wanted || strings.Contains(ts.ReadFile("stdout"), pattern)) {
			return
		}
		if neg || time.Now().After(deadline) {
			ts.Fatalf("timeout: until %v: %v", args, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// request makes an HTTP request: METHOD URL [BODY].
func request(ts *testscript.TestScript, _ bool, args []string) {
	r, err := http.NewRequest(args[0], args[1], strings.NewReader(strings.Join(args[2:], " ")))
	ts.Check(err)
	response, err := http.DefaultClient.Do(r)
	ts.Check(err)
	body, err := io.ReadAll(response.Body)
	ts.Check(errors.Join(err, response.Body.Close()))
	if response.StatusCode >= 300 {
		ts.Fatalf("%v: %s: %s", args, response.Status, body)
	}
	_, err = ts.Stdout().Write(body)
	ts.Check(err)
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}
