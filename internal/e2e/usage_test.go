package e2e

import (
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// The parent's memory must not count: a benchmark's process holds all that it published.
func TestUsageIsOfTheProgramAlone(t *testing.T) {
	ballast := make([]byte, 256<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	defer runtime.KeepAlive(ballast)
	p := &Process{Name: "busy", Path: "/bin/sh", Args: []string{"-c", "while :; do :; done"}, Log: filepath.Join(t.TempDir(), "log")}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		u, err := p.Usage()
		if err != nil {
			t.Fatal(err)
		}
		if u.Peak >= 64<<20 || u.Resident > u.Peak {
			t.Fatalf("a shell has %d bytes resident and had %d", u.Resident, u.Peak)
		}
		if u.CPU > 0 && u.Resident > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a busy process took %+v", u)
		}
	}
}
