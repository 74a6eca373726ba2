package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// commandResult is the output and the exit status of a command.
type commandResult struct {
	stdout, stderr string
	status         int
}

// command returns a lethe command that connects to the server of the bench.
func command(t *testing.T, url string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "lethe", args...)
	cmd.Env = append(os.Environ(), "LETHE_NATS_URL="+url)
	return cmd
}

// lethe runs a command until it exits.
func (b *bench) lethe(args ...string) commandResult {
	return runLethe(b.T, b.server.ClientURL(), args...)
}

func runLethe(t *testing.T, url string, args ...string) commandResult {
	t.Helper()
	cmd := command(t, url, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return commandResult{status: exitCode(t, cmd.Run()), stdout: stdout.String(), stderr: stderr.String()}
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		return exit.ExitCode()
	}
	return 0
}

// want checks the exit status and the output of a command.
func (s commandResult) want(t *testing.T, status int, in ...string) {
	t.Helper()
	if s.status != status {
		t.Errorf("status %d, want %d", s.status, status)
	}
	for _, text := range in {
		if !strings.Contains(s.stdout+s.stderr, text) {
			t.Errorf("%q is missing", text)
		}
	}
	if t.Failed() {
		t.Fatalf("stdout: %s\nstderr: %s", s.stdout, s.stderr)
	}
}

// answer stores a result like a worker.
func (b *bench) answer(id string, res events.Resource, outcome events.Outcome, change ...func(*nats.Msg)) {
	b.Helper()
	r := events.Result{
		EventID: "event", Source: "/lethe/test", Time: time.Date(2026, 11, 20, 10, 0, 0, 0, time.Local), RequestID: id, RequestSource: "/test", Target: res.Target(),
		Resource: res, Outcome: outcome, Attempts: 1, Evidence: &events.Evidence{Status: 200, ObservedAt: time.Now()},
	}
	switch outcome {
	case events.Failed:
		r.Error = &events.ResultError{Code: events.CodeRetriesExhausted, Message: "given up"}
	case events.Invalid:
		r.Error = &events.ResultError{Code: events.CodeIDReused, Message: "used"}
	}
	body, err := r.Encode()
	if err != nil {
		b.Fatal(err)
	}
	msg := nats.NewMsg(events.ResultSubject(res.Target(), id, outcome))
	msg.Header.Set("content-type", events.ContentType)
	msg.Header.Set("Lethe-Link", "test")
	msg.Data = body
	for _, c := range change {
		c(msg)
	}
	if _, err := b.js.PublishMsg(b.Context(), msg); err != nil {
		b.Fatal(err)
	}
}

// requests returns the messages in the stream of requests.
func (b *bench) requests() []*jetstream.RawStreamMsg {
	b.Helper()
	return b.messages(events.StreamRequests)
}

func (b *bench) messages(name string) []*jetstream.RawStreamMsg {
	b.Helper()
	stream, err := b.js.Stream(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(b.Context(), seq)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, msg)
	}
	return all
}

func (b *bench) file(name, text string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

func contexts(ids ...int64) events.UserContexts { return events.UserContexts{IDs: ids} }

func TestARowOfAnotherFileIsAnotherRequest(t *testing.T) {
	b := newBench(t)
	monday := b.file("erasures.csv", "target,ids\nkv-user-context,5\n")
	tuesday := b.file("erasures.csv", "target,ids\nkv-user-context,5\nkv-user-context,6\n")
	b.lethe("request", "--file", monday).want(t, exitDone, "1 new, 0 published before, 0 answered before, 0 refused", "to resume: --batch ")
	b.lethe("request", "--file", monday).want(t, exitFailed, "0 new, 1 published before", "nothing new to publish")
	b.lethe("request", "--file", tuesday).want(t, exitDone, "2 new, 0 published before")
	b.lethe("request", "--file", monday, "--batch", "again").want(t, exitDone, "1 new", "to resume: --batch again")
	b.lethe("request", "--file", monday, "--batch", "again").want(t, exitDone, "0 new, 1 published before")

	first, err := events.ReadRequest(events.KVUserContext, nil, b.requests()[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	b.answer(first.ID, first.Resource, events.Deleted)
	b.lethe("request", "--file", monday, "--wait").want(t, exitFailed, "1 answered before (2026-11-20 10:00:00)", "2026-11-20 10:00:00.000  deleted", "(answered before)", "nothing new to publish")
	b.lethe("request", "--file", monday, "--output", "json").want(t, exitFailed, `"answered_before":"2026-11-20T`)
	b.lethe("request", "--file", b.file("empty.csv", "target,ids\n")).want(t, exitFailed, "the file contains no request")
}

func TestADuplicateIsTheSameRequest(t *testing.T) {
	b := newBench(t)
	ask := func(want string, args ...string) {
		t.Helper()
		b.lethe(append([]string{"request", "--request-id", "case-1", "--output", "json"}, args...)...).want(t, exitDone, want)
	}
	ask(`"duplicate":false`, "kv-user-context", "--id", "1,2")
	ask(`"duplicate":true`, "kv-user-context", "--id", "2,1")
	ask(`"duplicate":false`, "kv-user-context", "--id", "3")
	ask(`"duplicate":false`, "sensay-knowledge-base", "--replica", replica, "--entry", "1")
	if got := b.requests(); len(got) != 3 {
		t.Fatalf("%d messages are stored", len(got))
	}
	want := "kv-user-context.case-1." + events.Fingerprint(contexts(1, 2))
	if id := b.requests()[0].Header.Get(nats.MsgIdHdr); id != want {
		t.Errorf("the message id is %s, want %s", id, want)
	}
}

// Where no answer comes, each row would wait as long as the first.
func TestAFileEndsWithTheFirstRowThatGetsNoAnswer(t *testing.T) {
	b := newBench(t)
	if err := b.js.DeleteStream(t.Context(), events.StreamRequests); err != nil {
		t.Fatal(err)
	}
	silent, err := b.js.Conn().SubscribeSync(events.RequestSubject(events.KVUserContext)) // receives, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Unsubscribe() }()
	file := b.file("erasures.csv", "target,ids\n"+strings.Repeat("kv-user-context,5\n", 50))
	b.lethe("request", "--file", file, "--timeout", "1s").want(t, exitFailed,
		"0 new, 0 published before, 0 answered before, 0 refused, 1 not confirmed", "to resume: --batch", "the server confirmed nothing within 1s, its disk may be full or failing")
}

func TestAReusedIDIsReported(t *testing.T) {
	b := newBench(t)
	b.answer("case-7", contexts(1), events.Deleted)
	b.lethe("request", "kv-user-context", "--id", "2", "--request-id", "case-7").want(t, exitFailed, "is already used for another resource", "under seq-1; `lethe show seq-1` shows it")
	if len(b.requests()) != 1 {
		t.Error("it was not published")
	}
	b.answer("seq-1", contexts(2), events.Invalid)
	b.lethe("request", "kv-user-context", "--id", "2", "--request-id", "case-7", "--wait").want(t, exitFailed, "seq-1", "id-reused")
}

func TestWaitingForTheAnswerToAReusedID(t *testing.T) {
	t.Parallel()
	for name, answeredAs := range map[string]string{"under its sequence": "seq-1", "where its sequence is taken": "seq-1-abcdef01"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			// Results for other requests come first.
			done := make(chan commandResult, 1)
			go func() { done <- b.lethe("request", "kv-user-context", "--id", "2", "--request-id", "case-7", "--wait") }()
			for deadline := time.Now().Add(20 * time.Second); len(b.requests()) == 0; {
				if time.Now().After(deadline) {
					t.Fatal("nothing was published")
				}
				time.Sleep(10 * time.Millisecond)
			}
			b.answer("case-7", contexts(1), events.Deleted)
			b.answer("seq-2", contexts(2), events.Invalid)
			b.answer(answeredAs, contexts(2), events.Invalid)
			got := <-done
			got.want(t, exitFailed, answeredAs+" ", "id-reused")
			if strings.Contains(got.stdout, "seq-2") || strings.Contains(got.stdout, "deleted") {
				t.Errorf("it shows results for other requests: %s", got.stdout)
			}
		})
	}
}

func TestCommandsSkipForeignMessages(t *testing.T) {
	b := newBench(t)
	foreign := func() {
		for _, m := range []nats.Msg{
			{Subject: "deletions.results.kv-user-context.f-1.deleted", Data: []byte("{}")},
			{Subject: "deletions.results.kv-user-context.x.failed"},
			{Subject: "deletions.results.kv-user-context.f-1.nonsense", Data: []byte("\x1b[2J")},
			{Subject: "deletions.results.kv-user-context.y.failed", Data: []byte("{}"), Header: nats.Header{"Lethe-Link": {"x"}}},
		} {
			if _, err := b.js.PublishMsg(t.Context(), &m); err != nil {
				t.Fatal(err)
			}
		}
		b.answer("forged", contexts(1), events.Deleted, func(m *nats.Msg) { m.Header.Del("Lethe-Link") })
		b.answer("forged", contexts(1), events.Deleted, func(m *nats.Msg) { m.Subject = "deletions.results.kv-user-context.other.deleted" })
		b.answer("forged", contexts(1), events.Deleted, func(m *nats.Msg) { m.Subject = "deletions.results.kv-user-context.forged.failed" })
	}
	foreign()
	b.answer("f-1", contexts(11), events.Failed)
	foreign()
	b.answer("f-2", contexts(12), events.Failed)
	foreign()

	for name, c := range map[string]struct {
		args  []string
		lines int
	}{
		"results":          {[]string{"results"}, 2},
		"results followed": {[]string{"results", "--follow", "--limit", "2"}, 2},
		"one result":       {[]string{"results", "--id", "f-1"}, 1},
		"failed list":      {[]string{"failed", "list"}, 2},
		"failed replay":    {[]string{"failed", "replay", "--all"}, 2},
		"one replay":       {[]string{"failed", "replay", "f-1", "--output", "json"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.lethe(c.args...)
			got.want(t, exitDone)
			if n := strings.Count(got.stdout, "\n"); n != c.lines || strings.Contains(got.stdout, "forged") {
				t.Errorf("%d lines: %s", n, got.stdout)
			}
			if strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "was not written by a worker") {
				t.Errorf("stderr: %s", got.stderr)
			}
		})
	}
	b.lethe("request", "kv-user-context", "--id", "11", "--request-id", "f-1", "--wait").want(t, exitFailed, "given up", "answered before")
}

func TestAReplayFollowsTheFailedResult(t *testing.T) {
	b := newBench(t)
	b.answer("f-1", contexts(11), events.Failed)
	b.answer("seq-9", contexts(12), events.Failed)
	b.answer("gone", contexts(13), events.Failed)
	b.answer("gone", contexts(13), events.Deleted)
	for _, id := range []string{"", "*", "a.b", ">", "a b", strings.Repeat("x", 65)} {
		b.lethe("failed", "replay", id).want(t, exitUsage, "is not a request id")
	}
	b.lethe("failed", "replay", "nope", "gone").want(t, exitFailed, "no failed request has the id nope", "no failed request has the id gone")
	if n := len(b.requests()); n > 0 {
		t.Fatalf("%d are published", n)
	}
	b.lethe("failed", "replay", "--all", "--output", "json").want(t, exitFailed, `{"id":"f-1","target":"kv-user-context","sequence":1,"duplicate":false}`, "seq-9 cannot be replayed")
	got := b.requests()
	if len(got) != 1 {
		t.Fatalf("%d are published", len(got))
	}
	request, err := events.ReadRequest(events.KVUserContext, got[0].Header, got[0].Data)
	if err != nil || request.ID != "f-1" || got[0].Header.Get("Lethe-Expected") != "1" || got[0].Subject != events.RequestSubject(events.KVUserContext) {
		t.Errorf("%+v %v %v", request, got[0].Header, err)
	}
	b.lethe("failed", "replay", "f-1").want(t, exitDone, "already replayed")
}

// The publisher has only the permission to publish requests.
func TestAPublisherNeedsNoReadPermission(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{
			{Username: "admin", Password: "a"},
			{Username: "publisher", Password: "p", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{"deletions.requests.kv-user-context"}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("admin", "a"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1, ResultsMaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(s.ClientURL(), "://", "://publisher:p@", 1)
	file := filepath.Join(t.TempDir(), "f.csv")
	if err := os.WriteFile(file, []byte("target,ids\n"+strings.Repeat("kv-user-context,5\n", 600)), 0o600); err != nil {
		t.Fatal(err)
	}
	runLethe(t, url, "request", "--file", file).want(t, exitDone, "600 new, 0 published before")
	runLethe(t, url, "request", "--file", file).want(t, exitFailed, "0 new, 600 published before")
	runLethe(t, url, "request", "kv-user-context", "--id", "1", "--request-id", "r").want(t, exitDone, "r\n")
	runLethe(t, url, "request", "kv-user-context", "--id", "2", "--request-id", "r").want(t, exitDone, "r\n")
	runLethe(t, url, "request", "kv-user-context", "--id", "1", "--wait").want(t, exitFailed, "permissions violation")
}

func TestAnInterruptionEndsReadingStandardInput(t *testing.T) {
	b := newBench(t)
	cmd := command(t, b.server.ClientURL(), "request", "--file", "-", "--format", "csv", "--batch", "b-1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte("target,ids\nkv-user-context,5\nkv-user-context,6")); err != nil {
		t.Fatal(err)
	}
	for len(b.requests()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	code := exitCode(t, cmd.Wait())
	commandResult{status: code, stderr: stderr.String()}.want(t, exitFailed, "1 new", "to resume: --batch b-1", "lethe: interrupted")
	if len(b.requests()) != 1 {
		t.Error("an incomplete line was published")
	}
}

func TestAnInterruptionEndsADryRunOfStandardInput(t *testing.T) {
	t.Parallel()
	cmd := command(t, "", "request", "--file", "-", "--format", "ndjson", "--batch", "b", "--dry-run", "--output", "json")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte(context1 + "\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, cmd.Wait()); code != exitFailed {
		t.Errorf("status %d", code)
	}
}

func TestAnInterruptedDemoReportsNoWrongResult(t *testing.T) {
	t.Parallel()
	cmd := command(t, "", "demo")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	for { // until some results are printed
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "  ") {
			break
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var rest bytes.Buffer
	if _, err := rest.ReadFrom(lines); err != nil {
		t.Fatal(err)
	}
	code := exitCode(t, cmd.Wait())
	got := commandResult{status: code, stdout: rest.String(), stderr: stderr.String()}
	got.want(t, exitFailed, "lethe: interrupted")
	if strings.Contains(got.stdout, "WRONG") {
		t.Error(got.stdout)
	}
}

func TestTextFromNATSIsPrintable(t *testing.T) {
	b := newBench(t)
	const c1, turn = "\u009b2J", "\u202e"
	reply := `{"endpoints":[{"data":{"instance":"w\u001b[31m\u0007` + c1 + turn + `\ne","lanes":[{"target":"t\u001b[2J","state":"s` + c1 + `"},{"target":"kv-user-context","state":"failing","reason":"y\u001b]0;x\u0007","fix":"z` + c1 + `"}]}}]}`
	_, err := b.js.Conn().Subscribe("$SRV.STATS.lethe", func(m *nats.Msg) { _ = m.Respond([]byte(reply)) })
	if err != nil {
		t.Fatal(err)
	}
	evil := func(m *nats.Msg) {
		m.Data = bytes.Replace(m.Data, []byte(`"evidence":{`), []byte(`"evidence":{"message":"a\u001b[31m\u0007`+c1+turn+`",`), 1)
	}
	b.answer("r-1", contexts(1), events.Deleted, evil)
	b.answer("r-2", contexts(1), events.Failed, func(m *nats.Msg) {
		m.Data = bytes.Replace(m.Data, []byte("given up"), []byte(`given\u001b[31m\u0007`+c1+turn), 1)
	})
	for _, args := range [][]string{
		{"status"}, {"status", "--output", "json"}, {"results"}, {"results", "--output", "json"}, {"failed", "list"}, {"failed", "list", "--output", "json"},
		{"request", "kv-user-context", "--id", "1", "--request-id", "r-1", "--wait"},
	} {
		got := b.lethe(args...)
		if len(got.stdout) < 50 {
			t.Errorf("%q prints too little: %s%s", args, got.stdout, got.stderr)
		}
		for _, r := range got.stdout + got.stderr {
			if r != '\n' && (r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 || r == 0x202e) {
				t.Errorf("%q prints %U", args, r)
			}
		}
	}
}

func TestExitStatusOfErrors(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"status"}, {"setup"}, {"results"}, {"failed", "list"}, {"failed", "replay", "--all"}, {"request", "kv-user-context", "--id", "1"}} {
		runLethe(t, "nats://127.0.0.1:1", args...).want(t, exitFailed, "cannot reach NATS")
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--id: is missing", []string{"request", "kv-user-context"}},
		{"--replica: is missing", []string{"request", "sensay-knowledge-base"}},
		{"--entry: is missing", []string{"request", "sensay-knowledge-base", "--replica", replica}},
		{`--id: "a" is not an integer`, []string{"request", "kv-user-context", "--id", "a"}},
		{`--id: "010" is not an integer`, []string{"request", "kv-user-context", "--id", "010"}},
		{`--id: "0x1f" is not an integer`, []string{"request", "kv-user-context", "--id", "0x1f"}},
		{`--entry: "1_0" is not an integer`, []string{"request", "sensay-knowledge-base", "--replica", replica, "--entry", "1_0"}},
		{"must be a UUID of 36 characters", []string{"request", "sensay-knowledge-base", "--replica", "{" + replica + "}", "--entry", "1"}},
		{"--request-id: is empty", []string{"request", "kv-user-context", "--id", "1", "--request-id", ""}},
		{"--request-id: must be", []string{"request", "kv-user-context", "--id", "1", "--request-id", "a.b"}},
		{"--batch: is empty", []string{"request", "--file", "f.csv", "--batch", ""}},
		{"--batch: must be", []string{"request", "--file", "f.csv", "--batch", "a\x1bb"}},
		{"--batch: needs --file", []string{"request", "kv-user-context", "--id", "1", "--batch", "b"}},
		{"--id: is empty", []string{"results", "--id", ""}},
		{"--id: \"*\" is not a request id", []string{"results", "--id", "*"}},
		{"--target: is empty", []string{"failed", "replay", "--all", "--target", ""}},
		{"--outcome: is empty", []string{"results", "--outcome", ""}},
		{"--since: must be more than 0, such as 24h", []string{"failed", "list", "--since", "-5h"}},
		{"--since: must be more than 0, such as 24h", []string{"failed", "replay", "--all", "--since=-1ns"}},
		{"lethe: --since: must be more than 0, such as 24h\n", []string{"results", "--since", "-5h"}},
		{"lethe: --limit: must not be negative\n", []string{"results", "--since", "1h", "--limit", "-1"}},
		{"lethe: --since: must be more than 0, such as 24h\n", []string{"failed", "replay", "--all", "--since", "0s"}},
		{"--since: must be a duration", []string{"results", "--since", "5"}},
		{"--limit: must be a number", []string{"results", "--limit", "x"}},
	} {
		runLethe(t, "nats://127.0.0.1:1", c.args...).want(t, exitUsage, c.want)
	}
}

func TestADryRunNeedsNoNATS(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.csv")
	if err := os.WriteFile(path, []byte("target,ids\nkv-user-context,1\nkv-user-context,1 2\nkv-user-context,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runLethe(t, "nats://127.0.0.1:1", "request", "--file", path, "--dry-run").want(t, exitFailed, "dry run: 2 valid, 1 refused; nothing was published", "line 3: ids")
	runLethe(t, "nats://127.0.0.1:1", "request", "kv-user-context", "--id", "1", "--dry-run").want(t, exitDone, "dry run: 1 valid, 0 refused")
}
