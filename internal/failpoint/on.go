//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// trigger is the parsed LETHE_FAILPOINT.
type trigger struct {
	at      Point
	signal  syscall.Signal
	nth     int64
	delay   time.Duration
	reached atomic.Int64
}

var configured = func() *trigger {
	t, err := parse(os.Getenv("LETHE_FAILPOINT"))
	if err != nil { // a test with a misspelled trigger would prove nothing
		fmt.Fprintln(os.Stderr, "lethe: LETHE_FAILPOINT:", err)
		os.Exit(2)
	}
	return t
}()

func parse(s string) (*trigger, error) {
	t := &trigger{nth: 1}
	if s == "" {
		return t, nil
	}
	fields := strings.Split(s, ":")
	if len(fields) < 2 || len(fields) > 4 || !slices.Contains(Points(), Point(fields[0])) {
		return nil, fmt.Errorf("%q is not POINT:ACTION[:NTH][:DELAY]", s)
	}
	t.at = Point(fields[0])
	switch fields[1] {
	case "die":
		t.signal = syscall.SIGKILL
	case "stop":
		t.signal = syscall.SIGSTOP
	default:
		return nil, fmt.Errorf("action %q is neither die nor stop", fields[1])
	}
	var err error
	if len(fields) > 2 {
		if t.nth, err = strconv.ParseInt(fields[2], 10, 64); err != nil {
			return nil, err
		}
	}
	if len(fields) > 3 {
		if t.delay, err = time.ParseDuration(fields[3]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// At carries out the action of LETHE_FAILPOINT if that names p.
func At(p Point) {
	if p != configured.at || configured.reached.Add(1) != configured.nth {
		return
	}
	act := func() { _ = syscall.Kill(os.Getpid(), configured.signal) }
	if configured.delay > 0 {
		time.AfterFunc(configured.delay, act)
		return
	}
	if act(); configured.signal == syscall.SIGKILL {
		select {} // do not continue before the signal arrives
	}
}
