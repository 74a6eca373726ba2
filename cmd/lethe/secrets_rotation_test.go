package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/lethe-dev/lethe/events"
)

// rotatedAPI is an API that accepts one secret and echoes all that it was sent.
type rotatedAPI struct {
	*httptest.Server
	mu    sync.Mutex
	right string
	came  map[string]int // calls, by their secret
}

func newRotatedAPI(t *testing.T, right string) *rotatedAPI {
	l := &rotatedAPI{right: right, came: map[string]int{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret := r.Header.Get("access-key") + r.Header.Get("X-ORGANIZATION-SECRET")
		l.mu.Lock()
		l.came[secret]++
		right := secret == l.right
		echo := "with"
		for former := range l.came {
			echo += " " + former + " or " + allSpellings(former)
		}
		l.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if !right {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = w.Write([]byte(object("success", right, "message", echo, "request_id", echo)))
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *rotatedAPI) calls(secret string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.came[secret]
}

// A credential file is replaced in the ways that people and programs use. The suspended
// lane resumes with the new secret, although its next probe is an hour away.
func TestASuspendedLaneResumesWithTheNewSecret(t *testing.T) {
	t.Parallel()
	const (
		former = "the-former-Secret-of-this-lane-0001"
		wrong  = "a-wrong-Secret-for-the-very-lane-0002"
		right  = "the-right-Secret-for-ever-after-0003"
	)
	write := func(t *testing.T, file, secret string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(t *testing.T, file, secret string){
		"written over": write,
		"another file in its place": func(t *testing.T, file, secret string) {
			write(t, file+".new", secret)
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		},
		// As Kubernetes mounts secrets: a link to a file through a link to a folder.
		"a link to another folder": func(t *testing.T, file, secret string) {
			dir, err := os.MkdirTemp(filepath.Dir(file), "v")
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "secret"), secret)
			current := filepath.Join(filepath.Dir(file), "current")
			for _, link := range [][2]string{{dir, current}, {filepath.Join("current", "secret"), file}} {
				if err := os.Symlink(link[0], link[1]+".new"); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(link[1]+".new", link[1]); err != nil {
					t.Fatal(err)
				}
			}
		},
		"removed and created again": func(t *testing.T, file, secret string) {
			if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			write(t, file, secret)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLeakSearch(t)
			api := newRotatedAPI(t, right)
			dir := t.TempDir()
			kv, sensay := filepath.Join(dir, "kv"), filepath.Join(dir, "sensay")
			s.env = append(s.env,
				"LETHE_KV_BASE_URL="+api.URL, "LETHE_KV_ACCESS_KEY_FILE="+kv,
				"LETHE_SENSAY_BASE_URL="+api.URL, "LETHE_SENSAY_ORGANIZATION_SECRET_FILE="+sensay,
				"LETHE_RETRY_INITIAL_INTERVAL=1h", "LETHE_RETRY_MAX_INTERVAL=1h", "LETHE_RETRY_MAX_ELAPSED=100h",
			)
			both := func(secret string) {
				t.Helper()
				for _, file := range []string{kv, sensay} {
					folder := filepath.Join(dir, filepath.Base(file)+".d")
					if err := os.MkdirAll(folder, 0o700); err != nil {
						t.Fatal(err)
					}
					// Each has its own folder for its links.
					if _, err := os.Lstat(file); err != nil {
						if err := os.Symlink(filepath.Join(folder, "file"), file); err != nil {
							t.Fatal(err)
						}
					}
					change(t, filepath.Join(folder, "file"), secret)
				}
			}
			both(former)
			w, admin := s.run()
			unanswered := []events.Request{s.publish(entryOf(1)), s.publish(events.UserContexts{IDs: []int64{1}})}
			s.until("both lanes are suspended", func() bool { return suspended(s.command("status", "--output", "json")) == 2 })
			unanswered = append(unanswered, s.publish(entryOf(2)), s.publish(events.UserContexts{IDs: []int64{2}}))
			both(wrong)
			s.until("both lanes have tried the wrong one", func() bool { return api.calls(wrong) >= 2 })
			s.until("both lanes are suspended again", func() bool { return suspended(s.command("status", "--output", "json")) == 2 })
			s.pages(admin)
			for _, r := range unanswered {
				if all := s.results(r); len(all) > 0 {
					t.Errorf("%s: %s for a wrong secret", r.Target(), all[0].Outcome)
				}
			}
			waiting := []events.Request{s.publish(entryOf(3)), s.publish(events.UserContexts{IDs: []int64{3}})}
			both(right)
			for _, r := range waiting {
				if got := s.final(r); got.Outcome != events.Deleted {
					t.Errorf("%s: %s", r.Target(), got.Outcome)
				}
			}
			s.pages(admin)
			s.stored()
			s.command("results")
			if err := w.End(teardown); err != nil {
				t.Errorf("the worker ended with %v", err)
			}
			output, err := os.ReadFile(w.Log)
			if err != nil {
				t.Fatal(err)
			}
			s.seen.add("stderr", output)
			s.searched([]string{former, wrong, right}, "stderr", "NATS", "/readyz", "/metrics", "lethe results", events.StreamResults, events.StreamLater)
			for _, secret := range []string{former, wrong, right} {
				if api.calls(secret) == 0 {
					t.Errorf("%s was never sent", secret)
				}
			}
		})
	}
}
