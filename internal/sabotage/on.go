//go:build sabotage

package sabotage

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

// plan is LETHE_SABOTAGE_AT, read.
type plan struct {
	at      Point
	deed    string
	nth     int64
	delay   time.Duration
	reached atomic.Int64
}

var (
	what    = must(read(os.Getenv("LETHE_SABOTAGE_AT")))
	without = must(readRules(os.Getenv("LETHE_SABOTAGE_WITHOUT")))
)

// must ends a process whose sabotage was misspelled: it would prove nothing.
func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "lethe:", err)
		os.Exit(2)
	}
	return v
}

func read(s string) (*plan, error) {
	p := &plan{nth: 1}
	if s == "" {
		return p, nil
	}
	fields := strings.Split(s, ":")
	if len(fields) < 2 || len(fields) > 4 || !slices.Contains(Points(), Point(fields[0])) || !slices.Contains([]string{"die", "stop"}, fields[1]) {
		return nil, fmt.Errorf("LETHE_SABOTAGE_AT: %q is not POINT:DEED[:NTH][:DELAY]", s)
	}
	p.at, p.deed = Point(fields[0]), fields[1]
	var err error
	if len(fields) > 2 {
		if p.nth, err = strconv.ParseInt(fields[2], 10, 64); err != nil {
			return nil, fmt.Errorf("LETHE_SABOTAGE_AT: %w", err)
		}
	}
	if len(fields) > 3 {
		if p.delay, err = time.ParseDuration(fields[3]); err != nil {
			return nil, fmt.Errorf("LETHE_SABOTAGE_AT: %w", err)
		}
	}
	return p, nil
}

func readRules(s string) ([]Rule, error) {
	var rules []Rule
	for name := range strings.SplitSeq(s, ",") {
		if name == "" {
			continue
		}
		if !slices.Contains(Rules(), Rule(name)) {
			return nil, fmt.Errorf("LETHE_SABOTAGE_WITHOUT: there is no rule %q", name)
		}
		rules = append(rules, Rule(name))
	}
	return rules, nil
}

// At does at p what LETHE_SABOTAGE_AT asks for there.
func At(p Point) {
	if p != what.at {
		return
	}
	nth := what.reached.Add(1)
	switch {
	case nth == what.nth && what.delay > 0:
		time.AfterFunc(what.delay, what.strike)
	case nth == what.nth:
		what.strike()
		if what.deed == "die" {
			select {} // not a step further
		}
	}
}

func (p *plan) strike() {
	signal := syscall.SIGKILL
	if p.deed == "stop" {
		signal = syscall.SIGSTOP
	}
	_ = syscall.Kill(os.Getpid(), signal)
}

// Without says whether LETHE_SABOTAGE_WITHOUT leaves the rule out.
func Without(r Rule) bool { return slices.Contains(without, r) }
