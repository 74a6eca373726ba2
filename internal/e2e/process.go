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

// Process is a program that can be started again and again. Its methods may be
// called by one goroutine at a time.
type Process struct {
	Name string
	// Path, Args and Env are those of [exec.Cmd]; Env adds to the environment of
	// this process, less what it says about Lethe and NATS.
	Path string
	Args []string
	Env  []string
	// Log is the file that receives what the process writes, one run after the other.
	Log string

	cmd  *exec.Cmd
	done chan struct{} // closed when the run is over
	err  error         // of the run, once done is closed
}

// Start starts a run.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.Path, p.Args...) //nolint:noctx // it ends by signals alone, as in life
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

// Done is closed when the present run is over.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the run ended, once it is over.
func (p *Process) Err() error { return p.err }

// Running says whether a run is not over, be it stopped or not.
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

// Signal sends a signal, which is no error to a run that is over.
func (p *Process) Signal(s syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	if err := p.cmd.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Kill ends a run with SIGKILL, stopped or not, and waits until it is over.
func (p *Process) Kill() {
	if p.Running() {
		_ = p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// End asks a run to end, with SIGTERM, and kills it if it takes longer than
// patience. It returns how the run ended, which had not ended before.
func (p *Process) End(patience time.Duration) error {
	if !p.Running() {
		return nil
	}
	_ = p.Signal(syscall.SIGCONT)
	_ = p.Signal(syscall.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		var exit *exec.ExitError
		if errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
			return nil // it had not come as far as to listen to signals
		}
		return p.err
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.Name, patience)
	}
}

// Tail returns the last lines that the process wrote.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Stopped says whether the process stands still after SIGSTOP, and is not over. It reads
// /proc/PID/stat (proc_pid_stat(5)), so it is for Linux.
func (p *Process) Stopped() (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false, nil // it is over
	}
	if err != nil {
		return false, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may hold anything
	return strings.HasPrefix(rest, "T"), nil
}
