package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// status returns what `lethe status` prints as JSON, and checks that the text has the
// same problems.
func (b *bench) status() (s status) {
	b.Helper()
	asJSON, asText := b.lethe("status", "--output", "json"), b.lethe("status")
	if err := json.Unmarshal([]byte(asJSON.stdout), &s); err != nil {
		b.Fatalf("%v: %s%s", err, asJSON.stdout, asJSON.stderr)
	}
	if want := map[bool]int{true: exitDone, false: exitFailed}[s.Well]; asJSON.status != want || asText.status != want {
		b.Errorf("exit statuses %d and %d, well: %v", asJSON.status, asText.status, s.Well)
	}
	for _, p := range s.Problems {
		if p.Fix == "" || !strings.Contains(asText.stdout, p.Fix) {
			b.Errorf("the text lacks the fix %q of %q:\n%s", p.Fix, p.Reason, asText.stdout)
		}
		if n := strings.Count(asText.stdout, ": "+p.Reason); n != 1 {
			b.Errorf("the text contains %q %d times:\n%s", p.Reason, n, asText.stdout)
		}
	}
	for line := range strings.Lines(asText.stdout) {
		if !strings.Contains(line, ": ") && len(line) > 100 { // of a table
			b.Errorf("%d columns: %s", len(line), line)
		}
	}
	return s
}

// wantProblem checks that a problem is reported, with its fix.
func (s status) wantProblem(t testing.TB, about, reason, fix string) {
	t.Helper()
	for _, p := range s.Problems {
		if p.About == about && strings.Contains(p.Reason, reason) && strings.Contains(p.Fix, fix) {
			return
		}
	}
	t.Errorf("no problem of %s with %q and %q: %+v", about, reason, fix, s.Problems)
}

func TestStatusWithoutAWorkerShowsWhatWaits(t *testing.T) {
	b := newBench(t)
	b.publish(contexts(1))
	b.publish(entryOf(1))
	b.publish(entryOf(2))
	b.answer("f-1", contexts(2), events.Failed)
	b.answer("f-1", contexts(2), events.Failed, func(m *nats.Msg) { m.Header.Set("Lethe-Link", "again") })
	b.answer("f-2", contexts(3), events.Failed)
	s := b.status()
	s.wantProblem(t, "workers", "no worker answered", "lethe run")
	kv, sensay := s.Lanes[0], s.Lanes[1]
	if kv.State != "no worker" || number(kv.Waiting) != "1" || number(kv.InFlight) != "0" || number(kv.Scheduled) != "0" || number(kv.Failed) != "3" || kv.Oldest == nil || time.Since(*kv.Oldest) > time.Minute {
		t.Errorf("%+v, %s waiting, %s failed", kv, number(kv.Waiting), number(kv.Failed))
	}
	if number(sensay.Waiting) != "2" || number(sensay.Failed) != "0" {
		t.Errorf("%+v", sensay)
	}
	if len(s.Streams) != 4 || s.Streams[0].Messages != 3 || s.Streams[0].Bytes == 0 || s.Streams[3].Name != streams.Control || s.Streams[3].Messages == 0 {
		t.Errorf("%+v", s.Streams)
	}
	if len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "lane kv-user-context") || !strings.Contains(s.Notes[0], "kept: 3; `lethe failed list") {
		t.Errorf("notes: %q", s.Notes)
	}
}

// A problem of one part does not prevent the others from being shown.
func TestStatusShowsTheOtherPartsIfOneIsMissing(t *testing.T) {
	b := newBench(t)
	b.publish(contexts(1))
	if err := b.js.DeleteConsumer(t.Context(), events.StreamRequests, string(events.KVUserContext)); err != nil {
		t.Fatal(err)
	}
	s := b.status()
	s.wantProblem(t, "NATS", "stream DELETION_REQUESTS, consumer kv-user-context: missing", "lethe setup")
	if number(s.Lanes[0].Waiting) != "1" {
		t.Errorf("%s wait", number(s.Lanes[0].Waiting))
	}
	if err := b.js.DeleteStream(t.Context(), events.StreamLater); err != nil {
		t.Fatal(err)
	}
	s = b.status()
	s.wantProblem(t, "NATS", "stream DELETION_LATER: missing", "lethe setup")
	if slices.ContainsFunc(s.Problems, func(p statusProblem) bool { return p.About == "status" }) {
		t.Errorf("a missing stream is more than one problem: %+v", s.Problems)
	}
	if len(s.Streams) != 3 || s.Lanes[0].Failed == nil || s.Lanes[0].Scheduled != nil {
		t.Errorf("%+v", s)
	}
}

func TestStatusReportsFullStreamsAndOldRequests(t *testing.T) {
	b := newBench(t)
	b.publish(contexts(1))
	stream, err := b.js.Stream(t.Context(), events.StreamResults)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = 1000
	b.answer("f-1", contexts(2), events.Deleted)
	b.answer("f-2", contexts(2), events.Deleted)
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	b.status().wantProblem(t, "stream DELETION_RESULTS", "% full", streams.RaiseLimit(events.StreamResults))
	r := newStatusReading(nil)
	old := time.Now().Add(-400 * time.Hour)
	r.status.Lanes[0].Oldest = &old
	r.status.judge(720 * time.Hour)
	r.status.wantProblem(t, "lane kv-user-context", "older than half of 720h", "--max-age")
}

// statusServer runs a server whose user "reader" may ask for everything but the
// results, and on which the streams exist.
func statusServer(t *testing.T) (url string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "server.conf")
	text := fmt.Sprintf(`
listen: "127.0.0.1:-1"
jetstream { store_dir: %q }
accounts { OWN { jetstream: enabled, users: [
  { user: all, password: x }
  { user: reader, password: x, permissions: { publish: { allow: ">", deny: "$JS.API.STREAM.INFO.DELETION_RESULTS" }, subscribe: "_INBOX.>" } }
] } }
`, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect("nats://all:x@" + s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1, ResultsMaxAge: 720 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	return "nats://reader:x@" + s.Addr().String()
}

func TestStatusNamesThePermissionThatAPartNeeds(t *testing.T) {
	t.Parallel()
	got := runLethe(t, statusServer(t), "status", "--output", "json")
	var s status
	if err := json.Unmarshal([]byte(got.stdout), &s); err != nil {
		t.Fatalf("%v: %s%s", err, got.stdout, got.stderr)
	}
	s.wantProblem(t, "NATS", "$JS.API.STREAM.INFO.DELETION_RESULTS", "LETHE_NATS_URL")
	s.wantProblem(t, "status", "cannot read the streams: no answer within", "permissions")
	if len(s.Streams) != 3 || s.Lanes[0].Waiting == nil || s.Lanes[0].Scheduled == nil || s.Lanes[0].Failed == nil {
		t.Errorf("%+v", s)
	}
}

// The workers' reports are put together for each lane.
func TestTheStateOfALaneIsThatOfTheWorkersWhichServeIt(t *testing.T) {
	t.Parallel()
	kv := func(s consumer.State) consumer.State { s.Target = events.KVUserContext; return s }
	running := kv(consumer.State{Status: consumer.StatusRunning})
	failing := kv(consumer.State{Status: consumer.StatusFailing, Code: consumer.CodeAPIFails, Reason: "the API fails", Fix: "wait", Since: time.Now()})
	unlisted := kv(consumer.State{Status: consumer.StatusOff, Code: consumer.CodeNotListed, Reason: "not listed", Fix: "add it", Since: time.Now()})
	bare := kv(consumer.State{Status: consumer.StatusOff, Code: consumer.CodeNoCredential, Reason: "no credential", Fix: "set it", Since: time.Now()})
	unfetched := kv(consumer.State{Status: consumer.StatusBlocked, Code: consumer.CodeNotFetched, Reason: "one stream", Fix: "wait", Further: []consumer.Problem{
		{Code: consumer.CodeNotFetched, Status: consumer.StatusBlocked, Reason: "another stream", Fix: "wait"},
	}})
	one := uint64(1)
	for name, c := range map[string]struct {
		lanes    []consumer.State
		waiting  *uint64
		state    string
		problems int
	}{
		"all run":                           {[]consumer.State{running, running}, nil, "running", 0},
		"one of two fails":                  {[]consumer.State{running, failing}, nil, "1 running, 1 failing", 1},
		"both fail":                         {[]consumer.State{failing, failing}, nil, "failing", 1},
		"each has the same two problems":    {[]consumer.State{unfetched, unfetched}, nil, "blocked", 2},
		"another worker serves it":          {[]consumer.State{running, unlisted, bare}, nil, "running", 0},
		"off by choice":                     {[]consumer.State{unlisted}, nil, "off", 0},
		"off by choice while requests wait": {[]consumer.State{unlisted}, &one, "off", 1},
		"no worker has a credential":        {[]consumer.State{bare}, nil, "off", 1},
		"a worker of an earlier version":    {[]consumer.State{kv(consumer.State{})}, nil, "no worker", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &newStatusReading(nil).status
			s.Lanes[0].Waiting = c.waiting
			for i, lane := range c.lanes {
				s.Workers = append(s.Workers, workerStats{Instance: fmt.Sprint(i), Lanes: []consumer.State{lane}})
			}
			s.judge(0)
			if s.Lanes[0].State != c.state || len(s.Problems) != c.problems || s.Well != (c.problems == 0) {
				t.Errorf("%s with %+v", s.Lanes[0].State, s.Problems)
			}
			for _, p := range s.Problems {
				if len(p.Workers) > len(c.lanes) {
					t.Errorf("a worker counts twice: %+v", p)
				}
			}
		})
	}
}

func TestAReasonThatIsOneWorkersOwnSaysSo(t *testing.T) {
	t.Parallel()
	s := &newStatusReading(nil).status
	for i, rate := range []string{"1.0", "4.5"} {
		s.Workers = append(s.Workers, workerStats{Instance: fmt.Sprintf("worker-%d", i), Lanes: []consumer.State{
			{Target: events.KVUserContext, Status: consumer.StatusThrottled, Code: consumer.CodeRateLimit, Reason: rate + " calls a second", Fix: "wait"},
		}})
	}
	s.judge(0)
	if len(s.Problems) != 1 || !strings.Contains(s.Problems[0].text(time.Now()), "1.0 calls a second (2 workers; this is what worker-0 reports)") {
		t.Errorf("%+v", s.Problems)
	}
}

// One worker serves each lane; no credential of the other is needed.
func TestAWorkerServesTheTargetsThatAreListed(t *testing.T) {
	b := newBench(t)
	w := b.start("TARGETS=kv-user-context", "SENSAY_ORGANIZATION_SECRET=")
	b.publish(entryOf(1))
	if got := b.final(b.publish(contexts(1))); got.Outcome != events.Deleted {
		t.Errorf("%+v", got)
	}
	if s := w.lane(events.SensayKnowledgeBase); s.Status != consumer.StatusOff || s.Code != consumer.CodeNotListed || !strings.Contains(s.Fix, "LETHE_TARGETS") {
		t.Errorf("%+v", s)
	}
	for line := range strings.Lines(w.output()) {
		if strings.Contains(line, "WARN") && strings.Contains(line, "sensay") {
			t.Errorf("a lane that is not listed gets a warning: %s", line)
		}
	}
	s := b.status()
	s.wantProblem(t, "lane sensay-knowledge-base", "not in LETHE_TARGETS", "LETHE_TARGETS")
	if s.Lanes[0].State != "running" || s.Lanes[1].State != "off" {
		t.Errorf("%+v", s.Lanes)
	}
}
