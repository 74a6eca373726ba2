package e2e

import (
	"bufio"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// echo runs a server until the test ends. It sends each line back to its sender, and to received.
func echo(t *testing.T) (address string, received <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	lines := make(chan string, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				for scanner := bufio.NewScanner(conn); scanner.Scan(); {
					lines <- scanner.Text()
					if _, err := conn.Write(append(scanner.Bytes(), '\n')); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), lines
}

// ask writes a line and returns the reply, "" if the connection ends or the wait expires.
func ask(t *testing.T, conn net.Conn, line string, wait time.Duration) string {
	t.Helper()
	if _, err := conn.Write([]byte(line + "\n")); err != nil {
		return ""
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return ""
	}
	answer, _ := bufio.NewReader(conn).ReadString('\n')
	return answer
}

func TestAProxyForwardsUntilItDropsRepliesCutsOrBlocks(t *testing.T) {
	address, received := echo(t)
	p, err := NewProxy(address)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", p.Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}

	conn := dial()
	if answer := ask(t, conn, "one", patience); answer != "one\n" {
		t.Fatalf("answered %q", answer)
	}
	p.DropReplies()
	if answer := ask(t, conn, "two", 100*time.Millisecond); answer != "" {
		t.Errorf("with DropReplies the client received %q", answer)
	}
	for _, want := range []string{"one", "two"} {
		if got := <-received; got != want {
			t.Errorf("received %q, want %q: DropReplies must not drop what the client sends", got, want)
		}
	}
	if answer := ask(t, dial(), "three", patience); answer != "three\n" {
		t.Errorf("a new connection received %q", answer)
	}
	p.Cut()
	if answer := ask(t, conn, "four", patience); answer != "" {
		t.Errorf("a connection that was cut received %q", answer)
	}
	p.SetBlocked(true)
	if answer := ask(t, dial(), "five", patience); answer != "" {
		t.Errorf("a blocked proxy replied %q", answer)
	}
	p.SetBlocked(false)
	if answer := ask(t, dial(), "six", patience); answer != "six\n" {
		t.Errorf("an unblocked proxy replied %q", answer)
	}
}

// Tests of several packages run at the same time. While one looks whether a port is free, a
// client of another would connect to it.
func TestAFreeAddressIsReservedForTheProcess(t *testing.T) {
	address, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := net.ListenPacket("udp", address); err == nil {
		_ = again.Close()
		t.Error("another process can reserve the same port")
	}
}

func TestAProcessIsStoppedKilledAndRestarted(t *testing.T) {
	p := &Process{Name: "cat", Path: "/bin/sh", Args: []string{"-c", "echo $GREETING; exec sleep 1000"}, Env: []string{"GREETING=hello"}, Log: filepath.Join(t.TempDir(), "log")}
	if p.Running() {
		t.Error("it is running before Start")
	}
	for range 2 {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); ; {
			stopped, err := p.Stopped()
			if err != nil {
				t.Fatal(err)
			}
			if stopped {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("SIGSTOP did not stop it")
			}
		}
		p.Kill()
		if p.Running() || p.Err() == nil {
			t.Error("it is still running after SIGKILL")
		}
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); p.Tail(1) != "hello"; {
		if time.Now().After(deadline) {
			t.Fatalf("its log ends with %q", p.Tail(5))
		}
	}
	if err := p.End(patience); err != nil {
		t.Errorf("it exited with %v", err)
	}
}
