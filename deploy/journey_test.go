package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
	"github.com/lethe-dev/lethe/internal/history"
)

// Every party does with Lethe's own commands all that it is there for, and what it may is what that took.
func TestEachPartyHasTheRightsItNeeds(t *testing.T) {
	s := newSite(t)
	seen := s.overhear(t)
	apis := fakeapi.New(fakeapi.Config{})
	web := httptest.NewServer(apis)
	t.Cleanup(func() { web.Close(); _ = apis.Close() })
	const replica = "03db5651-cb61-4bdf-9ef0-89561f7c9c53"
	accepted := fakeapi.KnowledgeBaseEntry(uuid.MustParse(replica), 6)
	script(t, apis, fakeapi.Context(11), fakeapi.Step{Fault: "503"})            // a retry, by way of DELETION_LATER
	script(t, apis, fakeapi.Context(12), fakeapi.Step{Fault: "418", Times: -1}) // a status that no document names: failed
	script(t, apis, accepted, fakeapi.Step{Fault: fakeapi.AcceptPending})       // waits for its confirmation

	t.Run("admin: lethe setup makes the streams, and again updates them", func(t *testing.T) {
		for range 2 {
			if err := wantOutput(s.run(t, "admin", "setup").must(t), "ready: DELETION_LATER"); err != nil {
				t.Error(err)
			}
		}
	})
	worker := s.worker(t, web.URL)
	t.Run("publishers: lethe request publishes to their targets", func(t *testing.T) {
		for _, id := range []string{"10", "11", "12"} {
			s.run(t, "publisher-kv", "request", "kv-user-context", "--id", id, "--request-id", "kv-"+id).must(t)
		}
		for _, id := range []string{"5", "6"} {
			s.run(t, "publisher-sensay", "request", "sensay-knowledge-base", "--entry", id,
				"--replica", replica, "--request-id", "sensay-"+id).must(t)
		}
	})
	t.Run("subscriber: lethe results follows what the worker publishes", func(t *testing.T) {
		followed := s.run(t, "subscriber", "results", "--follow", "--limit", "5", "--output", "json").must(t)
		got := outcomes(t, followed.stdout)
		want := []string{"kv-10 deleted", "kv-11 deleted", "kv-12 failed", "sensay-5 deleted", "sensay-6 accepted-pending"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("subscriber: lethe results finds one request, one target and one outcome", func(t *testing.T) {
		for _, filter := range [][]string{{"--id", "kv-11"}, {"--target", "sensay-knowledge-base"}, {"--outcome", "failed"}, {"--since", "1h"}} {
			if got := s.run(t, "subscriber", append([]string{"results", "--output", "json"}, filter...)...).must(t); got.stdout == "" {
				t.Errorf("%q: nothing", filter)
			}
		}
	})
	t.Run("admin: lethe failed lists the failed request and replays it", func(t *testing.T) {
		if err := wantOutput(s.run(t, "admin", "failed", "list").must(t), "kv-12"); err != nil {
			t.Error(err)
		}
		script(t, apis, fakeapi.Context(12)) // it answers as documented from now on
		s.run(t, "admin", "failed", "replay", "kv-12").must(t)
		until(t, "a result of the replay", func() error {
			return wantOutput(s.run(t, "subscriber", "results", "--id", "kv-12", "--outcome", "deleted").must(t), "kv-12")
		})
	})
	t.Run("admin: lethe status sees what waits, and the worker", func(t *testing.T) {
		until(t, "one request is scheduled, and the worker answers", func() error {
			got := s.run(t, "admin", "status", "--output", "json")
			var status struct {
				Lanes   []struct{ Scheduled int }
				Workers []struct{ Instance string }
			}
			if err := json.Unmarshal([]byte(got.stdout), &status); err != nil {
				t.Fatalf("%v: %s%s", err, got.stdout, got.stderr)
			}
			if len(status.Workers) != 1 || len(status.Lanes) != 2 || status.Lanes[0].Scheduled+status.Lanes[1].Scheduled != 1 {
				return fmt.Errorf("got %s", got.stdout)
			}
			return nil
		})
	})
	t.Run("admin: lethe show tells a request's life, and finds one that waits", func(t *testing.T) {
		for id, want := range map[string]string{
			"kv-11": "the API answered 503", "kv-12": "deleted", "sensay-6": "The API accepted the deletion",
		} {
			if err := wantOutput(s.run(t, "admin", "show", id).must(t), want); err != nil {
				t.Error(err)
			}
		}
		if got := s.run(t, "admin", "show", "never"); got.status != 1 || !strings.Contains(got.stderr, "nothing is stored under never") {
			t.Errorf("exit %d: %s", got.status, got.stderr)
		}
	})
	t.Run("worker: it reads the same life, with the rights that it has", func(t *testing.T) {
		nc := s.connect(t, "worker")
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		reader := &history.Reader{JS: js}
		found, _, err := reader.Find(t.Context(), "kv-11", events.Targets()...)
		if err != nil || len(found) != 1 || found[0].Stage(time.Now()) != history.Final {
			t.Errorf("%+v, %v", found, err)
		}
		if found, _, err := reader.Find(t.Context(), "never", events.Targets()...); err != nil || len(found) != 0 {
			t.Errorf("%+v, %v", found, err)
		}
		if err := nc.LastError(); err != nil {
			t.Error(err)
		}
	})
	t.Run("worker: it sees that a request which is delivered again waits already", func(t *testing.T) {
		again := events.NewRequest("/journey", events.KnowledgeBaseEntry{ReplicaUUID: accepted.Replica, KnowledgeBaseID: accepted.ID})
		again.ID = "sensay-6"
		body, err := again.Encode()
		if err != nil {
			t.Fatal(err)
		}
		ask(t, s.connect(t, "publisher-sensay"), &nats.Msg{Subject: "deletions.requests.sensay-knowledge-base", Data: body})
		until(t, "the worker looks", func() error {
			if !slices.Contains(seen("WORKER"), "$JS.API.STREAM.MSG.GET.DELETION_LATER") {
				return errors.New("it has not")
			}
			return nil
		})
	})
	t.Run("admin: the server says that it syncs what it stores", func(t *testing.T) {
		msg, err := s.connect(t, "admin").Request("$SYS.REQ.SERVER.PING.JSZ", nil, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Data server.JSInfo }
		if err := json.Unmarshal(msg.Data, &answer); err != nil || !answer.Data.Config.SyncAlways {
			t.Errorf("%v: %s", err, msg.Data)
		}
	})
	t.Run("worker: lethe run ends as it is asked to", func(t *testing.T) {
		if err := worker.End(20 * time.Second); err != nil {
			t.Error(err)
		}
	})
	t.Run("the tested rights are all that the users have", func(t *testing.T) {
		for _, user := range s.users(t) {
			for _, allowed := range user.Permissions.Publish.Allow {
				if allowed == "deletions.requests.sensay-knowledge-base" && user.Username == "CN=admin" {
					continue // replays there are as those here
				}
				if allowed == "$JS.API.CONSUMER.DELETE.DELETION_REQUESTS.*" || allowed == "$JS.API.CONSUMER.DELETE.DELETION_LATER.*" {
					continue // setup recreates a consumer after a server's crash, or a counter that miscounts
				}
				if strings.HasPrefix(allowed, "$JS.ACK.*.*.") {
					continue // the form of later servers: TestCluster
				}
				if !slices.ContainsFunc(seen(user.Account.Name), func(s string) bool { return server.SubjectMatchesFilter(s, allowed) }) {
					t.Errorf("%s may publish to %s and did not", user.Username, allowed)
				}
			}
		}
	})
}

// script sets what the next calls for an entry meet; no step, as documented.
func script(t *testing.T, apis *fakeapi.Server, of fakeapi.Entry, steps ...fakeapi.Step) {
	t.Helper()
	if err := apis.Script(of, steps...); err != nil {
		t.Fatal(err)
	}
}

// outcomes are results in brief, sorted.
func outcomes(t *testing.T, output string) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(output) {
		var event struct {
			Data struct {
				ID      string `json:"request_id"`
				Outcome string
			}
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, event.Data.ID+" "+event.Data.Outcome)
	}
	slices.Sort(all)
	return all
}

// users are those of the configuration as it stands.
func (s *site) users(t *testing.T) []*server.User {
	t.Helper()
	users := options(t, "server.conf").Users
	if len(users) != len(parties) {
		t.Fatalf("%d users, and %d parties", len(users), len(parties))
	}
	return users
}

// overhear listens in every party's account, and gives what has been published there.
func (s *site) overhear(t *testing.T) (seen func(account string) []string) {
	t.Helper()
	var mu sync.Mutex
	all := map[string][]string{}
	for _, user := range s.users(t) {
		account := user.Account.Name
		nc := s.connect(t, owner(account))
		_, err := nc.Subscribe(">", func(msg *nats.Msg) {
			mu.Lock()
			defer mu.Unlock()
			all[account] = append(all[account], msg.Subject)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return func(account string) []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all[account])
	}
}
