package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process runs a program, repeatedly if needed. Its methods are not safe for concurrent
// use.
type Process struct {
	Name string
	// Path, Args and Env are those of [exec.Cmd]. Env adds to the environment of
	// this process without its LETHE_, NATS_ and OTEL_ variables.
	Path string
	Args []string
	Env  []string
	// Log is the file to which the output of all runs is appended.
	Log string

	cmd  *exec.Cmd
	done chan struct{} // closed when the run has ended
	err  error         // the run's result, valid after done is closed
}

// Start starts a run.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.Path, p.Args...) //nolint:noctx // only signals end it, as in production
	cmd.Stdout, cmd.Stderr = log, log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LETHE_") && !strings.HasPrefix(v, "NATS_") && !strings.HasPrefix(v, "OTEL_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, p.Env...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		p.err = cmd.Wait()
		close(done)
	}(p.done)
	return nil
}

// PID is the process id of the latest run, 0 before the first.
func (p *Process) PID() int {
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Done is closed when the current run has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is the run's result, valid after Done is closed.
func (p *Process) Err() error { return p.err }

// Running reports whether the process exists, stopped or not.
func (p *Process) Running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal. It does nothing if the run has ended.
func (p *Process) Signal(s syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	if err := p.cmd.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Kill sends SIGKILL, which also ends a stopped process, and waits for the exit.
func (p *Process) Kill() {
	if p.Running() {
		_ = p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// End sends SIGTERM, and SIGKILL if the process has not exited after timeout. It
// returns the run's result, nil if the run had ended before.
func (p *Process) End(timeout time.Duration) error {
	if !p.Running() {
		return nil
	}
	_ = p.Signal(syscall.SIGCONT)
	_ = p.Signal(syscall.SIGTERM)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
		var exit *exec.ExitError
		if errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
			return nil // it had not installed its signal handler yet
		}
		return p.err
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("%s did not exit within %s of SIGTERM", p.Name, timeout)
	}
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Stopped reports whether SIGSTOP has stopped the process. It reads /proc/PID/stat
// (proc_pid_stat(5)), so it works on Linux only.
func (p *Process) Stopped() (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false, nil // it has exited
	}
	if err != nil {
		return false, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the process name before it may contain anything
	return strings.HasPrefix(rest, "T"), nil
}
