package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// imports are the subjects that an account imports from others, without those that the server adds by itself.
func (s *site) imports(t *testing.T, account string) []string {
	t.Helper()
	accountz, err := s.server.Accountz(&server.AccountzOptions{Account: account})
	if err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for _, i := range accountz.Account.Imports {
		if i.Account != "SYS" || string(i.Subject) == "$SYS.REQ.SERVER.PING.JSZ" {
			subjects = append(subjects, string(i.Subject))
		}
	}
	return subjects
}

// ask sends a message, and gives the answer.
func ask(t *testing.T, nc *nats.Conn, msg *nats.Msg) []byte {
	t.Helper()
	answer, err := nc.RequestMsg(msg, 5*time.Second)
	if err != nil {
		t.Fatalf("%s: %v", msg.Subject, err)
	}
	return answer.Data
}

// refusal is the error that JetStream answered with, nil if none.
func refusal(t *testing.T, answer []byte) error {
	t.Helper()
	var response struct{ Error *jetstream.APIError }
	if err := json.Unmarshal(answer, &response); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	if response.Error == nil {
		return nil
	}
	return response.Error
}

// stored is how many messages a stream holds.
func (s *site) stored(t *testing.T, account, stream string) uint64 {
	t.Helper()
	js, err := jetstream.New(s.connect(t, owner(account)))
	if err != nil {
		t.Fatal(err)
	}
	found, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return found.CachedInfo().State.Msgs
}

const (
	kvRequests     = "deletions.requests.kv-user-context"
	sensayRequests = "deletions.requests.sensay-knowledge-base"
)

// What a party may send is no way to what it may not.
func TestAllowedSubjectsGrantNothingElse(t *testing.T) {
	s := newSite(t)
	s.run(t, "admin", "setup").must(t)
	publisher, worker, subscriber := s.connect(t, "publisher-kv"), s.connect(t, "worker"), s.connect(t, "subscriber")
	first := &nats.Msg{Subject: kvRequests, Data: []byte("first"), Header: nats.Header{"Nats-Msg-Id": {"first"}}}
	if err := refusal(t, ask(t, publisher, first)); err != nil {
		t.Fatal(err)
	}
	result := &nats.Msg{Subject: "deletions.results.kv-user-context.id.deleted", Data: []byte("{}")}
	if err := refusal(t, ask(t, worker, result)); err != nil {
		t.Fatal(err)
	}
	later := &nats.Msg{Subject: "deletions.later.kv-user-context.id", Header: nats.Header{
		"Nats-Schedule": {"@at " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, "Nats-Schedule-Target": {"deletions.due.kv-user-context"},
	}}
	if err := refusal(t, ask(t, worker, later)); err != nil {
		t.Fatal(err)
	}
	before := s.everything(t)

	for _, trick := range []struct {
		name   string
		who    *nats.Conn
		on     string
		header nats.Header
	}{
		{"a roll-up of all requests", publisher, kvRequests, nats.Header{"Nats-Rollup": {"all"}}},
		{"a roll-up of one subject", publisher, kvRequests, nats.Header{"Nats-Rollup": {"sub"}}},
		{"a request that expires", publisher, kvRequests, nats.Header{"Nats-TTL": {"1s"}}},
		{"a request that is a schedule", publisher, kvRequests, nats.Header{
			"Nats-Schedule": {"@at 2020-01-01T00:00:00Z"}, "Nats-Schedule-Target": {sensayRequests}}},
		{"a request in an atomic batch", publisher, kvRequests, nats.Header{"Nats-Batch-Id": {"b"}, "Nats-Batch-Sequence": {"1"}, "Nats-Batch-Commit": {"1"}}},
		{"a request that counts", publisher, kvRequests, nats.Header{"Nats-Incr": {"1"}}},
		{"a roll-up of results", worker, result.Subject, nats.Header{"Nats-Rollup": {"all"}}},
		{"a schedule that becomes a request", worker, later.Subject + "2", nats.Header{
			"Nats-Schedule": {"@at 2020-01-01T00:00:00Z"}, "Nats-Schedule-Target": {kvRequests}}},
		{"a schedule that becomes a result", worker, later.Subject + "2", nats.Header{
			"Nats-Schedule": {"@at 2020-01-01T00:00:00Z"}, "Nats-Schedule-Target": {result.Subject}}},
	} {
		t.Run(trick.name+" is refused", func(t *testing.T) {
			if refusal(t, ask(t, trick.who, &nats.Msg{Subject: trick.on, Header: trick.header, Data: []byte("x")})) == nil {
				t.Error("it was taken")
			}
		})
	}
	t.Run("a request under a message id that waits takes nothing's place", func(t *testing.T) {
		if err := refusal(t, ask(t, publisher, &nats.Msg{Subject: kvRequests, Header: first.Header, Data: []byte("second")})); err != nil {
			t.Fatal(err)
		}
	})
	for _, deliver := range []string{kvRequests, "deletions.due.kv-user-context", "$JS.API.STREAM.PURGE.DELETION_LATER", "$JS.API.STREAM.DELETE.DELETION_RESULTS"} {
		t.Run("results cannot be delivered to "+deliver, func(t *testing.T) {
			name := fmt.Sprintf("push-%d", len(deliver))
			config := map[string]any{"name": name, "filter_subject": "deletions.results.>", "deliver_subject": deliver, "headers_only": true}
			if err := refusal(t, createConsumer(t, subscriber, name, config)); err != nil {
				t.Fatal(err)
			}
			var info jetstream.ConsumerInfo
			answer := ask(t, subscriber, &nats.Msg{Subject: "$JS.API.CONSUMER.INFO.DELETION_RESULTS." + name})
			if err := errors.Join(refusal(t, answer), json.Unmarshal(answer, &info)); err != nil {
				t.Fatal(err)
			}
			if info.PushBound || info.Delivered.Consumer != 0 || info.NumPending != 1 {
				t.Errorf("a client listens: %s", answer)
			}
		})
	}
	for name, config := range map[string]map[string]any{
		"another filter in the body": {"filter_subject": "deletions.attempts.>"},
		"more filters in the body":   {"filter_subjects": []string{"deletions.results.>", "deletions.attempts.>"}},
		"no filter in the body":      {},
		"a delivery back to results": {"filter_subject": "deletions.results.>", "deliver_subject": "deletions.results.a.b.c"},
	} {
		t.Run("a consumer of results with "+name+" is refused", func(t *testing.T) {
			config["name"] = "name"
			if refusal(t, createConsumer(t, subscriber, "name", config)) == nil {
				t.Error("it was made")
			}
		})
	}
	for name, msg := range map[string]*nats.Msg{
		"an acknowledgement": {Subject: kvRequests, Header: first.Header},
		"what is pulled":     {Subject: "$JS.API.CONSUMER.MSG.NEXT.DELETION_REQUESTS.kv-user-context", Data: []byte(`{"batch":1}`)},
		"a stored result":    {Subject: "$JS.API.STREAM.MSG.GET.DELETION_RESULTS", Data: []byte(`{"seq":1}`)},
	} {
		t.Run(name+" is answered nowhere but at home", func(t *testing.T) {
			who, home := worker, "WORKER"
			if msg.Subject == kvRequests {
				who, home = publisher, "PUBLISHER_KV"
			}
			spy := s.connect(t, owner(home))
			answers, err := spy.SubscribeSync(sensayRequests)
			if err == nil {
				err = spy.Flush()
			}
			if err != nil {
				t.Fatal(err)
			}
			msg.Reply = sensayRequests
			if err := who.PublishMsg(msg); err != nil {
				t.Fatal(err)
			}
			if _, err := answers.NextMsg(5 * time.Second); err != nil {
				t.Errorf("not even there: %v", err)
			}
		})
	}
	t.Run("a trace leads nowhere", func(t *testing.T) {
		traced := &nats.Msg{Subject: kvRequests, Header: nats.Header{"Nats-Msg-Id": {"first"}, "Nats-Trace-Dest": {sensayRequests}}}
		if err := publisher.PublishMsg(traced); err != nil {
			t.Fatal(err)
		}
		refused(t, publisher, `Publish to "`+sensayRequests+`"`)
	})

	if after := s.everything(t); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}

// createConsumer asks for a consumer of results, by a subject that a subscriber may use.
func createConsumer(t *testing.T, nc *nats.Conn, name string, config map[string]any) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"stream_name": "DELETION_RESULTS", "config": config})
	if err != nil {
		t.Fatal(err)
	}
	return ask(t, nc, &nats.Msg{Subject: "$JS.API.CONSUMER.CREATE.DELETION_RESULTS." + name + ".deletions.results.>", Data: body})
}

// everything is what the streams hold.
func (s *site) everything(t *testing.T) string {
	t.Helper()
	return fmt.Sprint(s.stored(t, "LETHE", "DELETION_REQUESTS"), s.stored(t, "RESULTS", "DELETION_RESULTS"), s.stored(t, "LETHE", "DELETION_LATER"))
}

func TestInboxesArePrivate(t *testing.T) {
	s := newSite(t)
	s.run(t, "admin", "setup").must(t)
	question := map[string]string{
		"publisher-kv": kvRequests, "publisher-sensay": sensayRequests, "worker": "$JS.API.STREAM.INFO.DELETION_LATER",
		"subscriber": "$JS.API.CONSUMER.INFO.DELETION_RESULTS.none", "admin": "$JS.API.STREAM.INFO.DELETION_RESULTS",
	}
	heard := map[string]*nats.Subscription{}
	for _, party := range parties {
		nc := s.connect(t, party)
		sub, err := nc.SubscribeSync("_INBOX.>")
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		heard[party] = sub
	}
	for _, party := range parties {
		ask(t, s.connect(t, party), &nats.Msg{Subject: question[party]})
	}
	// What a server delivers for one publish, it delivers before it answers the next.
	for _, party := range parties {
		if _, err := heard[party].NextMsg(5 * time.Second); err != nil {
			t.Errorf("%s does not hear its own: %v", party, err)
		}
		if msg, err := heard[party].NextMsg(time.Millisecond); err == nil {
			t.Errorf("%s hears %s: %s", party, msg.Subject, msg.Data)
		}
	}
}

// Each pull of a worker is an import's answer to be waited for: the server must not keep them.
func TestTheServerKeepsNoPendingResponsesOfPulls(t *testing.T) {
	s := newSite(t)
	s.run(t, "admin", "setup").must(t)
	js, err := jetstream.New(s.connect(t, "worker"))
	if err != nil {
		t.Fatal(err)
	}
	lane, err := js.Consumer(t.Context(), "DELETION_REQUESTS", "kv-user-context")
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		batch, err := lane.FetchNoWait(10)
		if err != nil {
			t.Fatal(err)
		}
		for range batch.Messages() {
			t.Fatal("a message")
		}
	}
	until(t, "the answers are forgotten", func() error {
		for _, name := range []string{"WORKER", "LETHE"} {
			account, err := s.server.LookupAccount(name)
			if err != nil {
				t.Fatal(err)
			}
			if n := account.NumPendingAllResponses(); n > 1 {
				return fmt.Errorf("%s waits for %d", name, n)
			}
		}
		return nil
	})
}
