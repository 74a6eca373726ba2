package deploy

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
)

// setUp makes the streams as the administrator.
func (s *stage) setUp(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, _ := s.connect(t, "admin")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := consumer.Setup(t.Context(), js, consumer.StreamSettings{Replicas: 1, ResultsMaxAge: 720 * 3600e9}); err != nil {
		t.Fatal(err)
	}
	return js
}

// Every subject that somebody may need, and some that nobody may: who is answered
// there, and that nobody else is.
func TestEachPartyReachesWhatItMayAndNothingElse(t *testing.T) {
	s := newStage(t)
	s.setUp(t)
	const kv, sensay = "kv-user-context", "sensay-knowledge-base"
	var matrix []struct {
		subject, body string
		who           []string
	}
	may := func(subject, body string, who ...string) {
		matrix = append(matrix, struct {
			subject, body string
			who           []string
		}{subject, body, who})
	}
	// What is asked for is read and refused by the server as senseless ("x"), so that nothing comes of it.
	may("deletions.requests."+kv, "x", "publisher", "kv-publisher", "admin")
	may("deletions.requests."+sensay, "x", "publisher", "admin")
	may("deletions.requests.another", "x")
	may("deletions.results."+kv+".r1.deleted", "x", "worker")
	may("deletions.attempts."+sensay+".r1.1", "x", "worker")
	may("deletions.later."+kv+".r1", "x", "worker")
	may("deletions.due."+kv, "x")

	for _, stream := range []string{events.StreamRequests, events.StreamResults, events.StreamLater} {
		results, queue := stream == events.StreamResults, stream != events.StreamResults
		readers := []string{"worker", "admin"}
		if results {
			readers = append(readers, "subscriber")
		}
		may("$JS.API.STREAM.INFO."+stream, "", readers...)
		for _, call := range []string{"CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN", "MSG.DELETE"} {
			may("$JS.API.STREAM."+call+"."+stream, "x", "admin")
		}
		may("$JS.API.CONSUMER.CREATE."+stream+".mine", "x", "admin")
		may("$JS.API.CONSUMER.CREATE."+stream+".mine.deletions.>", "x", "admin")
		may("$JS.API.CONSUMER.DURABLE.CREATE."+stream+".mine", "x", "admin")
		may("$JS.API.CONSUMER.DELETE."+stream+"."+kv, "x", "admin")
		may("$JS.API.CONSUMER.PAUSE."+stream+"."+kv, "x", "admin")
		get := []string{"admin"}
		if stream != events.StreamRequests {
			get = append(get, "worker")
		}
		may("$JS.API.STREAM.MSG.GET."+stream, `{"last_by_subj":"deletions.none"}`, get...)
		if queue {
			may("$JS.API.CONSUMER.INFO."+stream+"."+kv, "", "worker", "admin")
			may("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+sensay, `{"no_wait":true}`, "worker", "admin")
		}
	}
	may("$JS.API.CONSUMER.CREATE."+events.StreamResults+".mine.deletions.results.>", "x", "subscriber", "admin")
	may("$JS.API.CONSUMER.CREATE."+events.StreamResults+".mine.deletions.attempts.>", "x", "admin")
	may("$JS.API.CONSUMER.INFO."+events.StreamResults+".mine", "", "subscriber", "admin")
	may("$JS.API.DIRECT.GET."+events.StreamResults+".deletions.results.x.y.z", "", "subscriber", "admin")
	may("$JS.API.DIRECT.GET."+events.StreamResults+".deletions.attempts.x.y.z", "", "admin")
	may("$JS.API.STREAM.NAMES", "", "admin")
	may("$JS.API.INFO", "", "admin")
	may("$SYS.REQ.SERVER.PING.JSZ", "", "admin")
	may("$SYS.REQ.SERVER.PING", "")
	may("$SYS.REQ.ACCOUNT.LETHE.CONNZ", "")
	may("$SYS.REQ.CLAIMS.UPDATE", "x")

	for _, party := range parties {
		nc, denied := s.connect(t, party)
		for _, c := range matrix {
			got := reached(t, nc, denied, &nats.Msg{Subject: c.subject, Data: []byte(c.body)})
			if want := slices.Contains(c.who, party); got != want {
				t.Errorf("%s on %s: reached %v, want %v", party, c.subject, got, want)
			}
		}
	}
}

// A message that a worker has in hand is not another's to acknowledge.
func TestNobodyButTheWorkerAcknowledges(t *testing.T) {
	s := newStage(t)
	js := s.setUp(t)
	if _, err := js.Publish(t.Context(), "deletions.requests.kv-user-context", []byte("x")); err != nil {
		t.Fatal(err)
	}
	worker, _ := s.connect(t, "worker")
	taken, err := worker.Request("$JS.API.CONSUMER.MSG.NEXT.DELETION_REQUESTS.kv-user-context", []byte(`{"batch":1}`), patience)
	if err != nil || !strings.HasPrefix(taken.Reply, "$JS.ACK.") {
		t.Fatalf("the worker took %v, %v", taken, err)
	}
	left := func() uint64 {
		t.Helper()
		stream, err := js.Stream(t.Context(), events.StreamRequests)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.Msgs
	}
	for _, party := range []string{"publisher", "subscriber", "admin"} {
		nc, denied := s.connect(t, party)
		if reached(t, nc, denied, &nats.Msg{Subject: taken.Reply, Data: []byte("+ACK")}) || left() != 1 {
			t.Errorf("%s acknowledged it", party)
		}
	}
	if _, err := worker.Request(taken.Reply, []byte("+ACK"), patience); err != nil || left() != 0 {
		t.Errorf("the worker did not: %v", err)
	}
}

func TestNobodyHearsAnothersAnswers(t *testing.T) {
	s := newStage(t)
	js := s.setUp(t)
	var ears []*nats.Subscription
	for _, party := range parties {
		nc, _ := s.connect(t, party)
		for _, subject := range []string{"_INBOX.>", ">"} {
			sub, err := nc.SubscribeSync(subject)
			if err != nil {
				t.Fatal(err)
			}
			if err := nc.FlushTimeout(patience); err != nil {
				t.Fatal(err)
			}
			refused := errors.Is(nc.LastError(), nats.ErrPermissionViolation)
			if want := subject == ">" && party != "admin"; refused != want {
				t.Errorf("%s listens on %s: refused %v, want %v", party, subject, refused, want)
			}
			ears = append(ears, sub)
		}
		// What the others must not hear: the answers to each party's own request.
		other, _ := s.connect(t, "publisher")
		if _, err := other.Request("deletions.requests.kv-user-context", []byte("x"), patience); err != nil {
			t.Fatal(err)
		}
	}
	worker, _ := s.connect(t, "worker")
	if _, err := worker.Request("$JS.API.STREAM.INFO.DELETION_RESULTS", nil, patience); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Stream(t.Context(), events.StreamRequests); err != nil { // the administrator's own
		t.Fatal(err)
	}
	for i, ear := range ears {
		party := parties[i/2]
		for pending, _, _ := ear.Pending(); pending > 0; pending-- {
			msg, err := ear.NextMsg(patience)
			if err != nil {
				t.Fatal(err)
			}
			if party == "publisher" || party == "worker" || party == "admin" {
				continue // a connection hears the other connections of its own account
			}
			t.Errorf("%s hears %s", party, msg.Subject)
		}
	}
}

// Headers are commands to a stream. None of them may cost a request.
func TestAPublisherCannotWipeOrDelayWhatWaits(t *testing.T) {
	s := newStage(t)
	js := s.setUp(t)
	const subject = "deletions.requests.kv-user-context"
	if _, err := js.Publish(t.Context(), subject, []byte("the one that must stay")); err != nil {
		t.Fatal(err)
	}
	nc, _ := s.connect(t, "publisher")
	for name, header := range map[string]nats.Header{
		"roll-up of all":        {"Nats-Rollup": {"all"}},
		"roll-up of a subject":  {"Nats-Rollup": {"sub"}},
		"an age":                {"Nats-TTL": {"1s"}},
		"a schedule":            {"Nats-Schedule": {"@every 1s"}, "Nats-Schedule-Target": {subject}},
		"another stream's name": {"Nats-Expected-Stream": {events.StreamResults}},
	} {
		reply, err := nc.RequestMsg(&nats.Msg{Subject: subject, Header: header, Data: []byte("x")}, patience)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !strings.Contains(string(reply.Data), `"error"`) {
			t.Errorf("%s is taken: %s", name, reply.Data)
		}
	}
	stream, err := js.Stream(t.Context(), events.StreamRequests)
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.GetMsg(t.Context(), 1); err != nil || string(first.Data) != "the one that must stay" {
		t.Errorf("the first request is gone: %v", err)
	}
}
