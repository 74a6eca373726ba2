package main

import (
	"html"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// page returns the text of the operator's page.
func (w *worker) page(query string) string {
	response, err := http.Get(w.admin + "/" + query)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(string(body), "")
	return html.UnescapeString(regexp.MustCompile(`\s+`).ReplaceAllString(text, " "))
}

// pageShows waits until the page contains each of some texts.
func (b *bench) pageShows(w *worker, query string, texts ...string) {
	b.Helper()
	var page string
	defer func() {
		if b.Failed() {
			b.Logf("the page: %s", page)
		}
	}()
	for _, text := range texts {
		b.until("the page shows "+text, func() bool { page = w.page(query); return strings.Contains(page, text) })
	}
}

func TestThePageShowsWhatTheCommandsPrint(t *testing.T) {
	b := newBench(t)
	b.ignoreCalls()
	if err := b.apis.Script(fakeapi.Context(1<<63-1), fakeapi.Step{Fault: "418", Times: -1}); err != nil {
		t.Fatal(err)
	}
	w := b.start("RETRY_MAX_ELAPSED=1s")
	b.pageShows(w, "", "Every lane is running")
	fails := b.publish(events.UserContexts{IDs: []int64{1<<63 - 1}})
	b.final(fails)
	b.pageShows(w, "", "lethe failed replay "+fails.ID, "unexpected-answer")
	t.Run("a request's life is that of lethe show", func(t *testing.T) {
		show := exec.CommandContext(t.Context(), "lethe", "show", fails.ID)
		show.Env = append(os.Environ(), "LETHE_NATS_URL="+b.server.ClientURL(), "TZ=UTC")
		printed, err := show.Output()
		if err != nil {
			t.Fatal(err)
		}
		printedLines := strings.Split(string(printed), "\n")
		age := regexp.MustCompile(`\([^)]* ago\)`) // it grows
		page := age.ReplaceAllString(w.page("?id="+fails.ID), "")
		var sentence string
		for _, line := range printedLines {
			if strings.HasPrefix(line, "It is final") {
				sentence = age.ReplaceAllString(line, "")
			}
		}
		if sentence == "" || !strings.Contains(page, sentence) {
			t.Errorf("lethe show prints %q, the page %s", sentence, page)
		}
		for _, text := range []string{"ids 9223372036854775807", "unexpected-answer", "418"} {
			if !strings.Contains(page, text) {
				t.Errorf("the page does not show %s: %s", text, page)
			}
		}
	})
	t.Run("an unknown request", func(*testing.T) {
		b.pageShows(w, "?id=nothing", "nothing is stored under nothing")
	})
	t.Run("what the worker did", func(*testing.T) {
		b.pageShows(w, "", "failed 1 in the hour")
	})
	t.Run("a server that is gone", func(t *testing.T) {
		b.server.Shutdown()
		b.pageShows(w, "?id="+fails.ID, "Not working", "not connected to NATS", "The request cannot be read: not connected to NATS.")
		if got := w.page("healthz"); got != "ok " {
			t.Errorf("/healthz answers %q", got)
		}
	})
}

func TestThePageOfAWorkerWithoutAServer(t *testing.T) {
	b := newBench(t)
	address := b.server.ClientURL()
	b.server.Shutdown()
	w := &worker{Cmd: exec.Command("lethe", "run")}
	admin, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	w.admin = "http://" + admin
	w.Stdout, w.Stderr = w, w
	w.Env = append(os.Environ(), "LETHE_NATS_URL="+address, "LETHE_ADMIN_ADDR="+admin, "LETHE_KV_ACCESS_KEY="+testKey)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Process.Kill(); _ = w.Wait() })
	b.pageShows(w, "", "This worker deletes nothing: still waiting for NATS and its streams.")
}
