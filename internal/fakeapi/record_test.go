package fakeapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

func TestCallsAreLoggedInOrder(t *testing.T) {
	s, base := serve(t, fakeapi.Config{})
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if _, _, err := ask(t, "DELETE", base+kvDelete, `{"ids":[1,2]}`, "access-key", accessKey, "Content-Type", jsonType, "Traceparent", parent); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ask(t, "DELETE", base+sensayBase+"3?x=y", "", "Traceparent", "nonsense"); err != nil {
		t.Fatal(err)
	}
	got := s.Calls()
	ignore := cmpopts.IgnoreFields(fakeapi.Call{}, "Time", "Arrived", "RequestID")
	both := []fakeapi.Entry{fakeapi.Context(1), fakeapi.Context(2)}
	if diff := cmp.Diff([]fakeapi.Call{
		{Number: 1, API: fakeapi.KV, Method: "DELETE", Path: kvDelete, Operation: fakeapi.Delete, Entries: both,
			Authenticated: true, TraceParent: parent, Deleted: both, Status: 200},
		{Number: 2, API: fakeapi.Sensay, Method: "DELETE", Path: sensayBase + "3", Operation: fakeapi.Delete,
			Status: 401, Problem: "Unauthorized"},
	}, got, ignore); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	stats := s.Stats()
	want(t, "k-v.ai's counts", stats[fakeapi.KV], fakeapi.Stats{Calls: 1, Deletions: 1, Statuses: map[int]uint64{200: 1},
		Faults: map[fakeapi.Fault]uint64{}, Deleted: 2, Entries: 2, MaxInFlight: 1})
	want(t, "Sensay's counts", stats[fakeapi.Sensay], fakeapi.Stats{Calls: 1, Unauthenticated: 1, WithoutTrace: 1,
		Statuses: map[int]uint64{401: 1}, Faults: map[fakeapi.Fault]uint64{}, MaxInFlight: 1})

	s.ResetCalls()
	want(t, "calls after a reset", s.Calls(), []fakeapi.Call{})
	want(t, "counts after a reset", s.Stats()[fakeapi.KV].Calls, 0)
	want(t, "deletions after a reset", len(s.Deleted()), 2)
	if _, _, err := deleteEntry(t, base, 1); err != nil {
		t.Fatal(err)
	}
	want(t, "the next number", last(t, s).Number, 3)
}

func TestMemoryIsLimited(t *testing.T) {
	t.Run("the call log keeps the newest calls in order", func(t *testing.T) {
		s := fakeapi.New(fakeapi.Config{MaxCalls: 3})
		for range 5 {
			do(s, "DELETE", sensayBase+"1")
		}
		var numbers []uint64
		for _, call := range s.Calls() {
			numbers = append(numbers, call.Number)
		}
		want(t, "numbers", numbers, []uint64{3, 4, 5})
		want(t, "counted", s.Stats()[fakeapi.Sensay].Calls, 5)
	})
	t.Run("an entry above the limit gets 507, and the others are kept", func(t *testing.T) {
		s := fakeapi.New(fakeapi.Config{MaxEntries: 2})
		for id, code := range []int{1: 200, 2: 200, 3: 507} {
			if id > 0 {
				want(t, "status", do(s, "DELETE", fmt.Sprint(sensayBase, id)).Code, code)
			}
		}
		want(t, "status of one that is kept", do(s, "DELETE", sensayBase+"1").Code, 404)
		if err := s.SetEntry(sensayEntry(4), fakeapi.StateUnknown); err == nil {
			t.Error("an entry above the limit was set")
		}
	})
}

func TestNoCredentialIsLogged(t *testing.T) {
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "journal")
	journal, err := fakeapi.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	config := fakeapi.Config{AccessKey: "a-secret-access-key", OrganizationSecret: "a-secret-of-an-organization", Journal: journal,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	s, base := serve(t, config)
	for _, secret := range []string{"a-secret-access-key", "a-secret-of-an-organization"} {
		for _, call := range [][]string{
			{"DELETE", "/" + secret, ""},
			{secret, sensayBase + "1", ""},
			{"DELETE", "/v1/replicas/" + secret + "/knowledge-base/1", ""},
			{"DELETE", kvDelete, `{"ids":[1],"` + secret + `":1}`},
		} {
			if _, _, err := ask(t, call[0], base+call[1], call[2], "access-key", "a-secret-access-key",
				"X-ORGANIZATION-SECRET", secret, "Content-Type", jsonType, "Traceparent", secret); err != nil {
				t.Fatal(err)
			}
		}
	}
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "config", config)
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, control := range []string{"", "calls", "stats", "faults", "scripts", "deleted"} {
		_, body, err := ask(t, "GET", base+"/_sandbox/"+control, "")
		want(t, "error", err, nil)
		shown = append(shown, body)
	}
	want(t, "calls", len(s.Calls()), 8)
	for place, text := range map[string]string{
		"the log": log.String(), "the journal": string(written), "the control endpoint": strings.Join(shown, "\n"),
		"the record": fmt.Sprintf("%+v", s.Calls()),
	} {
		if strings.Contains(text, "a-secret-access-key") || strings.Contains(text, "a-secret-of-an-organization") {
			t.Errorf("a credential is shown in %s:\n%s", place, text)
		}
	}
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
}

func openJournal(t *testing.T, path string) *fakeapi.Journal {
	t.Helper()
	journal, err := fakeapi.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() }) // a second close may fail
	return journal
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	first := openJournal(t, path)
	s, base := serve(t, fakeapi.Config{Journal: first})
	script(t, s, sensayEntry(1), fakeapi.Step{Fault: fakeapi.CutAfter})
	script(t, s, sensayEntry(2), fakeapi.Step{Fault: fakeapi.AcceptPending})
	for id := range int64(3) {
		_, _, err := deleteEntry(t, base, id+1)
		want(t, "cut", err != nil, id == 0)
	}

	t.Run("every call is in the file before it is answered or cut", func(t *testing.T) {
		written, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var calls []fakeapi.Call
		for lines := bufio.NewScanner(bytes.NewReader(written)); lines.Scan(); {
			var call fakeapi.Call
			if err := json.Unmarshal(lines.Bytes(), &call); err != nil {
				t.Fatal(err)
			}
			calls = append(calls, call)
		}
		want(t, "journal", calls, s.Calls())
	})
	t.Run("a call that cannot be written deletes nothing and is cut", func(t *testing.T) {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := deleteEntry(t, base, 9); err == nil {
			t.Error("it was answered")
		}
		want(t, "state", state(t, s, sensayEntry(9)), fakeapi.StatePresent)
		want(t, "cut", last(t, s).Cut, true)
	})
	t.Run("a later run continues a journal with an incomplete last line", func(t *testing.T) {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(`{"number":4,"api":"sen`); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		again, base := serve(t, fakeapi.Config{Journal: openJournal(t, path)})
		want(t, "deleted", again.Deleted(), s.Deleted())
		resp, _, err := deleteEntry(t, base, 1)
		want(t, "error", err, nil)
		want(t, "status of what an earlier run deleted", status(resp), 404)
		want(t, "number", last(t, again).Number, 4)
	})
	t.Run("a file that is not a journal is refused", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "other")
		if err := os.WriteFile(other, []byte("hello\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := fakeapi.OpenJournal(other)
		if err == nil || !strings.Contains(err.Error(), "line 1 is not a call") {
			t.Errorf("got %v", err)
		}
	})
}

func TestOneOfManyConcurrentCallsDeletes(t *testing.T) {
	s, base := serve(t, fakeapi.Config{})
	var mu sync.Mutex
	counts := map[int]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for id := range int64(20) {
				resp, _, err := deleteEntry(t, base, id+1)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				counts[resp.StatusCode]++
				mu.Unlock()
				s.Stats()
				s.Calls()
			}
		})
	}
	wg.Wait()
	want(t, "answers", counts, map[int]int{200: 20, 404: 140})
	want(t, "deleted", len(s.Deleted()), 20)
}
