package history

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const target = events.SensayKnowledgeBase

// site is a server with the streams, and a worker's ledger on it.
type site struct {
	*testing.T
	js     jetstream.JetStream
	ledger *ledger.Ledger
	reader *Reader
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Parallel()
	_, js := e2e.Serve(t, e2e.ServerConfig{Dir: filepath.Join(t.TempDir(), "js")})
	if err := streams.Setup(t.Context(), js, streams.Settings{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	return &site{t, js, ledger.New(js, target, "worker-1", slog.New(slog.DiscardHandler)), &Reader{JS: js, Messages: true}}
}

// entry is a request about a knowledge-base entry.
func entry(id string) events.Request {
	r := events.NewRequest("/crm", events.KnowledgeBaseEntry{ReplicaUUID: uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"), KnowledgeBaseID: 1<<63 - 1})
	r.ID = id
	return r
}

// publish stores a request.
func (s *site) publish(r events.Request) {
	s.Helper()
	body, err := r.Encode()
	if err != nil {
		s.Fatal(err)
	}
	s.publishRaw(&nats.Msg{Subject: events.RequestSubject(r.Target()), Data: body, Header: nats.Header{"content-type": {events.ContentType}}})
}

func (s *site) publishRaw(msg *nats.Msg) {
	s.Helper()
	if _, err := s.js.PublishMsg(s.Context(), msg); err != nil {
		s.Fatal(err)
	}
}

// attempt stores an attempt; a lease of 0 ends one.
func (s *site) attempt(id string, p ledger.Progress, lease time.Duration) ledger.Progress {
	s.Helper()
	return s.append(s.ledger.NewAttempt(s.Context(), id, "f", p, lease))
}

func (s *site) append(p *ledger.Pending) ledger.Progress {
	s.Helper()
	if err := s.ledger.Append(s.Context(), p); err != nil {
		s.Fatal(err)
	}
	return p.Progress
}

func (s *site) result(id string, p ledger.Progress, r events.Result) ledger.Progress {
	s.Helper()
	r.EventID, r.Source, r.Time, r.RequestID, r.RequestSource, r.Target = ledger.NewID(), "/lethe/test", time.Now(), id, "/crm", target
	r.Resource, r.Attempts = entry(id).Resource, p.Attempts
	if r.Evidence != nil {
		r.Evidence.ObservedAt = time.Now()
	}
	pending, err := s.ledger.NewResult(s.Context(), id, "f", p, r)
	if err != nil {
		s.Fatal(err)
	}
	return s.append(pending)
}

func (s *site) schedule(id string, p ledger.Progress, at time.Time) {
	s.Helper()
	body, err := entry(id).Encode()
	if err != nil {
		s.Fatal(err)
	}
	msg := &nats.Msg{Data: body, Header: nats.Header{"content-type": {events.ContentType}}}
	if err := s.ledger.Schedule(s.Context(), id, msg, p, at); err != nil {
		s.Fatal(err)
	}
}

func (s *site) find(id string) *Request {
	s.Helper()
	found, searched, err := s.reader.Find(s.Context(), id, target)
	if err != nil {
		s.Fatal(err)
	}
	if len(found) == 0 {
		s.Fatalf("%s is not found: %+v", id, searched)
	}
	return found[0]
}

var busy = ledger.NewAnswer(503, "503 Service Unavailable: busy", time.Now())

func begun() ledger.Progress { return ledger.Progress{}.WithAttempt(time.Now()) }

// Each case leaves a request in a state that workers leave it in.
func TestASentenceDescribesTheState(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		leave func(s *site, id string)
		after time.Duration // passes before the question
		want  Stage
		says  []string
	}{
		"no worker has taken it": {
			func(s *site, id string) { s.publish(entry("other")); s.publish(entry(id)) }, 0, Waiting,
			[]string{"waits in DELETION_REQUESTS", "one message of its lane is ahead", "It waits because its lane is paused: a test."},
		},
		"a worker has taken it": {
			func(s *site, id string) {
				s.publish(entry(id))
				consumer, err := s.js.Consumer(s.Context(), events.StreamRequests, string(target))
				if err != nil {
					s.Fatal(err)
				}
				if _, err := consumer.Next(); err != nil {
					s.Fatal(err)
				}
			}, 0, Taken, []string{"A worker has taken message 1"},
		},
		"an attempt runs": {
			func(s *site, id string) { s.attempt(id, begun(), time.Minute) }, 0, InFlight,
			[]string{"Attempt 1 is in flight", "worker worker-1"},
		},
		"an attempt has no answer": {
			func(s *site, id string) { s.attempt(id, begun(), time.Minute) }, 2 * time.Minute, Unanswered,
			[]string{"Attempt 1 has no answer", "worker-1", "may have deleted", "delivered again", "It waits because its lane is paused: a test."},
		},
		"it is retried": {
			func(s *site, id string) {
				p := s.attempt(id, begun(), time.Minute)
				p.Answer = busy
				p = s.attempt(id, p, 0)
				s.schedule(id, p, soon)
			}, 0, Retrying, []string{"The API answered attempt 1 with 503 Service Unavailable: busy. Attempt 2 follows at", "(in 59 min)", "At present its lane is paused: a test."},
		},
		"it is retried after a call without an answer": {
			func(s *site, id string) {
				p := begun()
				p.Answer = ledger.NewAnswer(0, "connection lost", time.Now())
				s.schedule(id, s.attempt(id, p, 0), soon)
			}, 0, Retrying, []string{"Attempt 1 got no answer from the API: connection lost. Attempt 2 follows"},
		},
		"its records have no answer, of an earlier version": {
			func(s *site, id string) { s.schedule(id, s.attempt(id, begun(), 0), soon) }, 0, Retrying,
			[]string{"Attempt 1 did not end the request. Attempt 2 follows"},
		},
		"its next attempt is due": {
			func(s *site, id string) {
				p := begun()
				p.Answer = busy
				s.attempt(id, p, 0)
			}, 0, Due, []string{"503", "Attempt 2 is due.", "It waits because its lane is paused: a test."},
		},
		"its claim was released": {
			func(s *site, id string) {
				p := s.attempt(id, begun(), time.Minute)
				s.attempt(id, p.WithoutLastAttempt(), 0)
			}, 0, Due, []string{"No call was made yet. Attempt 1 is due."},
		},
		"its credential cannot be read": {
			func(s *site, id string) {
				p := s.attempt(id, begun(), time.Minute).WithoutLastAttempt()
				p.Answer = ledger.NewAnswer(0, "cannot read the credential", time.Now())
				s.schedule(id, s.attempt(id, p, 0), soon)
			}, 0, Retrying, []string{"No call was made yet: cannot read the credential. Attempt 1 follows"},
		},
		"the API accepted it": {
			func(s *site, id string) { s.accept(id, soon, soon.Add(time.Hour)) }, 0, AcceptedPending,
			[]string{"The API accepted the deletion at", "expects it to be complete by", "made again at", "(in 59 min)"},
		},
		"its confirmation is late": {
			func(s *site, id string) { s.accept(id, soon, soon.Add(time.Hour)) }, 3 * time.Hour, AcceptedPending,
			[]string{"it is overdue: it was to be confirmed at"},
		},
		"it is not deleted yet": {
			func(s *site, id string) {
				p := s.accept(id, time.Now().Add(-3*time.Hour), time.Now().Add(-2*time.Hour))
				p = p.WithAttempt(time.Now())
				p.Answer = ledger.NewAnswer(202, "still there.", time.Now())
				s.schedule(id, s.attempt(id, p, 0), soon)
			}, 0, AcceptedPending, []string{"it is overdue", "the next confirmation is at", "the last confirmation got 202 still there."},
		},
		"it is deleted": {
			func(s *site, id string) {
				s.result(id, begun(), events.Result{Outcome: events.Deleted, Evidence: &events.Evidence{Status: 404, Message: "gone", AfterUnansweredAttempt: true}})
			}, 0, Final, []string{"It is final: deleted at", "after 1 attempt", "the API answered 404 gone", "without an answer"},
		},
		"it failed": {
			func(s *site, id string) { s.fail(id) }, 0, Final,
			[]string{"failed at", "retries-exhausted: given up", "lethe failed replay"},
		},
		"it is answered under its sequence": {
			func(s *site, _ string) {
				s.append(s.invalid("seq-77"))
			}, 0, Final, []string{"could not be answered under an id of its own", "invalid", "id-reused"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			id := ledger.NewID()
			if name == "it is answered under its sequence" {
				id = "seq-77"
			}
			c.leave(s, id)
			q, now := s.find(id), time.Now().Add(c.after)
			sentence := q.Sentence(now, "its lane is paused: a test")
			t.Log(sentence)
			if got := q.Stage(now); got != c.want {
				t.Errorf("the stage is %s, want %s", got, c.want)
			}
			for _, words := range c.says {
				if !strings.Contains(sentence, words) {
					t.Errorf("%q does not contain %q", sentence, words)
				}
			}
			if strings.Contains(sentence, "\n") || strings.Contains(sentence, "..") {
				t.Errorf("%q is not one plain line", sentence)
			}
		})
	}
}

func (s *site) accept(id string, due, expectedBy time.Time) ledger.Progress {
	s.Helper()
	p := begun()
	p.AwaitingRemoval, p.FirstAttempt = true, due
	p = s.result(id, p, events.Result{Outcome: events.AcceptedPending, ExpectedBy: expectedBy, Evidence: &events.Evidence{Status: 202}})
	if time.Until(due) > 0 {
		s.schedule(id, p, due)
	}
	return p
}

func (s *site) fail(id string) ledger.Progress {
	s.Helper()
	return s.result(id, begun(), events.Result{
		Outcome: events.Failed, Evidence: &events.Evidence{Status: 503}, Error: &events.ResultError{Code: events.CodeRetriesExhausted, Message: "given up"},
	})
}

func (s *site) invalid(id string) *ledger.Pending {
	s.Helper()
	p, err := s.ledger.NewResult(s.Context(), id, "f", ledger.Progress{}, events.Result{
		EventID: ledger.NewID(), Source: "/lethe/test", Time: time.Now(), RequestID: id, RequestSource: "/crm", Target: target,
		Resource: entry("x").Resource, Outcome: events.Invalid, Error: &events.ResultError{Code: events.CodeIDReused, Message: "x already names another"},
	})
	if err != nil {
		s.Fatal(err)
	}
	return p
}

func TestEachAttemptHasALineWithItsAnswer(t *testing.T) {
	s := newSite(t)
	id := ledger.NewID()
	p := s.attempt(id, begun(), time.Minute)
	p.Answer = busy
	p = s.attempt(id, p, 0)
	claimed := s.attempt(id, p.WithAttempt(time.Now()), time.Minute)
	p = claimed.WithoutLastAttempt()
	p = s.attempt(id, p, 0)
	p = s.attempt(id, p.WithAttempt(time.Now()), time.Minute)
	p.Answer = ledger.NewAnswer(429, "slow down", time.Now())
	p = s.attempt(id, p, 0)
	s.schedule(id, p, time.Now().Add(time.Hour))
	q := s.find(id)
	var got []string
	for _, l := range q.Lines() {
		got = append(got, l.What+": "+l.Text)
	}
	want := []string{
		"attempt 1: recorded by worker worker-1, which has 1m0s for the call",
		"attempt 1: the API answered 503 Service Unavailable: busy",
		"attempt 2: recorded by worker worker-1, which has 1m0s for the call",
		"attempt 2: returned by worker worker-1: no call was made",
		"attempt 2: recorded by worker worker-1, which has 1m0s for the call",
		"attempt 2: the API answered 429 slow down",
		"attempt 3: is scheduled",
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
	if fmt.Sprint(q.Resource) != "replica 03db5651-cb61-4bdf-9ef0-89561f7c9c53 entry 9223372036854775807" || q.Source != "/crm" {
		t.Errorf("it is about %v, requested by %s", q.Resource, q.Source)
	}
}

func TestOnlyTheLastRecordsAreRead(t *testing.T) {
	s := newSite(t)
	id := ledger.NewID()
	p := ledger.Progress{}
	for range MaxRecords + 7 {
		p = s.attempt(id, p.WithAttempt(time.Now()), 0)
	}
	q := s.find(id)
	if len(q.Records) != MaxRecords || q.Earlier != 7 || q.Attempts() != MaxRecords+7 || q.Records[0].Progress.Attempts != 8 {
		t.Errorf("%d records from attempt %d on, %d earlier, %d attempts", len(q.Records), q.Records[0].Progress.Attempts, q.Earlier, q.Attempts())
	}
}

// Any client with the permission may publish on the subjects of a request.
func TestAForeignMessageDoesNotHideRecords(t *testing.T) {
	s := newSite(t)
	id := ledger.NewID()
	p := begun()
	p.Answer = busy
	s.attempt(id, p, 0)
	s.publishRaw(&nats.Msg{Subject: events.ResultSubject(target, id, events.Deleted), Data: []byte("{}")})
	q := s.find(id)
	if now := time.Now(); len(q.Records) != 1 || q.Stage(now) != Due {
		t.Errorf("%d records, %s", len(q.Records), q.Stage(now))
	}
	s.publishRaw(&nats.Msg{Subject: events.LaterSubject(target, id), Data: []byte("{}")})
	if q := s.find(id); q.Next != nil {
		t.Errorf("a message without a worker's headers is read as the next step: %+v", q.Next)
	}
}

func TestAWaitingRequestIsFoundByItsIDAndBySequence(t *testing.T) {
	s := newSite(t)
	for range 3 * sweepChunk {
		s.publish(entry(ledger.NewID()))
	}
	s.publish(entry("wanted"))
	s.publishRaw(&nats.Msg{Subject: events.RequestSubject(target), Data: []byte("{")})
	last := uint64(3*sweepChunk + 1)
	now := time.Now()
	q := s.find("wanted")
	if q.Message == nil || q.Message.Seq != last || q.Message.Ahead != 3*sweepChunk || q.Stage(now) != Waiting {
		t.Errorf("found %+v", q.Message)
	}
	bySeq, err := s.reader.FindSequence(s.Context(), last, events.Targets()...)
	if err != nil || len(bySeq) != 1 || bySeq[0].ID != "wanted" {
		t.Errorf("by sequence: %+v, %v", bySeq, err)
	}
	invalid, err := s.reader.FindSequence(s.Context(), last+1, events.Targets()...)
	if err != nil || len(invalid) != 1 || invalid[0].ID != events.SequenceID(last+1) {
		t.Fatalf("an event without an id, by sequence: %+v, %v", invalid, err)
	}
	if sentence := invalid[0].Sentence(now, ""); !strings.Contains(sentence, "will be answered as invalid") {
		t.Error(sentence)
	}
	if q := s.find(events.SequenceID(last + 1)); q.Message == nil || q.Message.Invalid == nil {
		t.Errorf("an event without an id, by id: %+v", q)
	}
	found, searched, err := s.reader.Find(s.Context(), "never", target)
	if err != nil || len(found) != 0 || searched.Searched != int(last)+1 || searched.Waiting != int(last)+1 {
		t.Errorf("found %+v, %+v, %v", found, searched, err)
	}
	s.reader.Messages = false // as a worker may read
	found, searched, err = s.reader.Find(s.Context(), "wanted", target)
	if err != nil || len(found) != 0 || searched.Searched != 0 || searched.Waiting != int(last)+1 {
		t.Errorf("a worker found %+v, %+v, %v", found, searched, err)
	}
}

// A due message without records is found, and so is a replay that no worker has taken.
func TestMessagesThatAreDueOrReplayed(t *testing.T) {
	s := newSite(t)
	now := time.Now()
	s.schedule("expired", begun(), now)
	var q *Request
	for deadline := time.Now().Add(30 * time.Second); ; {
		if q = s.find("expired"); q.Message != nil || time.Now().After(deadline) {
			break
		}
	}
	if q.Message == nil || q.Message.Stream != events.StreamLater || q.Stage(now) != Due {
		t.Errorf("%s, %+v", q.Stage(now), q.Message)
	}
	s.schedule("due", s.attempt("due", begun(), 0), now)
	for deadline := time.Now().Add(30 * time.Second); ; {
		if q = s.find("due"); q.Message != nil || time.Now().After(deadline) {
			break
		}
	}
	if q.Resource == nil || q.Stage(now) != Due || !strings.Contains(q.Sentence(now, ""), "Attempt 2 is due since") {
		t.Errorf("%s, about %v", q.Sentence(now, ""), q.Resource)
	}
	failed := s.fail("again")
	replay, err := ledger.Replay(*s.find("again").last().Result, failed.Seq)
	if err != nil {
		t.Fatal(err)
	}
	s.publishRaw(replay)
	found, err := s.reader.FindSequence(s.Context(), 1, target)
	if err != nil || len(found) != 1 || found[0].Stage(now) != Waiting || !strings.Contains(found[0].Sentence(now, ""), "A replay of the failed request waits") {
		t.Errorf("%+v, %v", found, err)
	}
	s.result("again", failed, events.Result{Outcome: events.Deleted, Evidence: &events.Evidence{Status: 200}})
	if found, err := s.reader.FindSequence(s.Context(), 1, target); err != nil || found[0].Stage(now) != Final {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestTheTraceIDIsThatOfTheNewestMessage(t *testing.T) {
	s := newSite(t)
	const traced = "4bf92f3577b34da6a3ce929d0e0e4736"
	r := entry("traced")
	r.TraceParent = "00-" + traced + "-00f067aa0ba902b7-01"
	s.publish(r)
	if q := s.find("traced"); q.TraceID() != traced {
		t.Errorf("the trace id is %q", q.TraceID())
	}
	if id := traceID(nats.Header{"traceparent": {"no trace"}}, events.Request{}); id != "" {
		t.Errorf("a trace id of no trace: %q", id)
	}
}

func TestOnlyACompleteNameIsASequence(t *testing.T) {
	for id, want := range map[string]bool{"seq-17": true, "seq-017": false, "seq-": false, "seq-17-abc": false, "17": false, "seq-99999999999999999999": false} {
		if _, ok := Sequence(id); ok != want {
			t.Errorf("%s names a sequence: %v", id, ok)
		}
	}
}
