package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is the resources that a run has used so far.
type Usage struct {
	CPU      time.Duration
	Resident int64 // resident memory, bytes
	Peak     int64 // highest Resident so far
}

// Usage reads the usage of a running process from /proc (proc_pid_stat(5),
// proc_pid_status(5)), so it works on Linux only. The peak is the program's own:
// getrusage(2) would include its parent's memory, because a child is a copy of its
// parent until exec.
func (p *Process) Usage() (u Usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the process name before it may contain anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat: %q", p.PID(), stat)
	}
	for _, ticks := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(ticks, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", p.PID(), err)
		}
		u.CPU += time.Duration(n) * (time.Second / 100) // USER_HZ, on every Linux
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "VmRSS":
			u.Resident, err = kilobytes(value)
		case "VmHWM":
			u.Peak, err = kilobytes(value)
		}
		if err != nil {
			return u, fmt.Errorf("/proc/%d/status: %w", p.PID(), err)
		}
	}
	return u, nil
}

func kilobytes(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
	return n << 10, err
}
