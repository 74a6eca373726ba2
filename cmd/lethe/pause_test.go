package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/control"
)

func TestTheEndOfAPause(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 11, 26, 14, 30, 10, 0, zone)
	for text, want := range map[string]time.Time{
		"2026-11-26T15:00:00Z": time.Date(2026, 11, 26, 16, 0, 0, 0, zone),
		"2026-11-27 08:00":     time.Date(2026, 11, 27, 8, 0, 0, 0, zone),
		"2026-11-27 08:00:30":  time.Date(2026, 11, 27, 8, 0, 30, 0, zone),
		"22:00":                time.Date(2026, 11, 26, 22, 0, 0, 0, zone),
		"08:00":                time.Date(2026, 11, 27, 8, 0, 0, 0, zone),
		"2h":                   time.Date(2026, 11, 26, 16, 30, 10, 0, zone),
	} {
		if got, err := parseUntil(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"tomorrow", "", "25:00", "2026-11-26T13:00:00Z", "2026-11-26 14:30", "10s", "-2h"} {
		if got, err := parseUntil(text, now); err == nil || !strings.HasPrefix(err.Error(), "--until: ") {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
}

func TestPauseRefusesWrongArguments(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"pause", "--reason", "r"}, "lethe: TARGET or --all is missing (see lethe pause --help)"},
		{[]string{"pause", "kv-user-context", "--all", "--reason", "r"}, "lethe: TARGET and --all are both given; give only one of them"},
		{[]string{"pause", "kv-user-context"}, "lethe: --reason is missing; "},
		{[]string{"pause", "kv-user-context", "--reason", " "}, "--reason is missing"},
		{[]string{"pause", "another", "--reason", "r"}, "TARGET: must be one of"},
		{[]string{"pause", "kv-user-context", "--reason", "r", "--until", "soon"}, "--until: must be a time"},
		{[]string{"pause", "kv-user-context", "--reason", "r", "--timeout", "-1s"}, "--timeout: must not be negative"},
		{[]string{"pause", "kv-user-context", "--reason", "r", "--output", "xml"}, "--output"},
		{[]string{"resume"}, "lethe: TARGET or --all is missing (see lethe resume --help)"},
	} {
		b.lethe(c.args...).want(t, exitUsage, c.want)
	}
	if l, err := control.ReadLane(t.Context(), b.js, events.KVUserContext); err != nil || l.State != control.Running {
		t.Errorf("the lane is %+v, %v", l, err)
	}
}

// A person pauses a lane while a call is in flight, pauses it again, and resumes it.
func TestPauseAndResume(t *testing.T) {
	b := newBench(t)
	release := b.delayAnswers()
	b.start()
	b.lethe("request", "kv-user-context", "--id", "1", "--request-id", "first").want(t, exitDone)
	<-b.begun

	began := time.Now()
	got := b.lethe("pause", "kv-user-context", "--reason", "vendor\nasked", "--by", "anna", "--timeout", "1s")
	got.want(t, exitFailed, "kv-user-context is paused by anna", ": vendor asked;", "`lethe resume kv-user-context` ends it",
		"calls may begin for 15s more", "waiting for calls in flight: kv-user-context: worker ", "calls in flight: 1")
	if time.Since(began) < control.Wait {
		t.Errorf("pause waits for %s only", time.Since(began))
	}
	b.lethe("request", "kv-user-context", "--id", "2", "--request-id", "second").want(t, exitDone)
	b.lethe("status").want(t, exitFailed, "paused", "vendor asked", "anna")
	release()

	got = b.lethe("pause", "kv-user-context", "--reason", "still", "--by", "ben", "--until", "1h", "--output", "json")
	got.want(t, exitDone, "kv-user-context: was paused by anna since ", "vendor asked")
	var record struct {
		Target, State, Reason, By string
		Until                     time.Time
		Previous                  struct{ By string }
	}
	if err := json.Unmarshal([]byte(got.stdout), &record); err != nil {
		t.Fatalf("%v: %s", err, got.stdout)
	}
	if record.Target != "kv-user-context" || record.State != "paused" || record.Reason != "still" || record.By != "ben" || record.Previous.By != "anna" || time.Until(record.Until) < 50*time.Minute {
		t.Errorf("printed %+v", record)
	}
	if calls := len(b.apis.Calls()); calls != 1 {
		t.Errorf("%d calls, want the one before the pause", calls)
	}
	b.lethe("resume", "--all").want(t, exitDone, "kv-user-context is resumed; it was paused by ben since ", "still", "sensay-knowledge-base is running; there is nothing to resume")
	b.lethe("results", "--follow", "--id", "second", "--limit", "1").want(t, exitDone, "deleted")
}

func TestPauseNeedsTheBucket(t *testing.T) {
	b := newBench(t)
	if err := b.js.DeleteStream(t.Context(), "KV_lethe-control"); err != nil {
		t.Fatal(err)
	}
	b.lethe("pause", "--all", "--reason", "r").want(t, exitFailed, "the bucket lethe-control is missing; `lethe setup` creates it")
	b.lethe("resume", "--all").want(t, exitFailed, "the bucket lethe-control is missing; `lethe setup` writes it again, and the lane then runs; lane sensay-knowledge-base: ")
	b.lethe("setup").want(t, exitDone, "created: KV_lethe-control, which was missing: pauses of lanes are lost", "ready: KV_lethe-control")
	b.lethe("resume", "--all").want(t, exitDone, "there is nothing to resume")
}

// An operator who interrupts the command must know that the lane is paused all the same.
func TestAnInterruptedPauseSaysThatItStays(t *testing.T) {
	b := newBench(t)
	cmd := command(t, b.server.ClientURL(), "pause", "kv-user-context", "--reason", "r")
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		if stderr.WriteString(lines.Text() + "\n"); strings.Contains(lines.Text(), "the pause is stored; ") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	commandResult{status: exitCode(t, cmd.Wait()), stderr: stderr.String()}.want(t, exitFailed, "lethe: interrupted; the pause of kv-user-context is stored and remains in effect")
}

// The server may have stored a pause whose acknowledgement did not come before the interrupt.
func TestAPauseThatIsInterruptedEarlyMayBeStored(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &pauser{out: io.Discard, progress: io.Discard, reason: "r"}
	err := p.pause(ctx, &client{js: b.js}, []events.Target{events.KVUserContext})
	if !errors.Is(err, errInterrupted) || !strings.Contains(err.Error(), "kv-user-context may be paused") {
		t.Errorf("the error is %v", err)
	}
}
