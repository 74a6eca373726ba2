package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// worth is a subject that a client may want to publish to, and the accounts that may.
type worth struct {
	subject string
	may     []string
}

// wanted are the subjects that read, write or change anything. STREAM, LANE and FILTER stand for each stream, for its
// consumer of k-v.ai requests and for what that one takes.
var wanted = []worth{
	{"deletions.requests.kv-user-context", []string{"publisher-kv", "admin"}},
	{"deletions.requests.sensay-knowledge-base", []string{"publisher-sensay", "admin"}},
	{"deletions.requests.another-target", nil},
	{"deletions.results.kv-user-context.id.deleted", []string{"worker"}},
	{"deletions.attempts.kv-user-context.id.1", []string{"worker"}},
	{"deletions.later.kv-user-context.id", []string{"worker"}},
	{"deletions.due.kv-user-context", nil}, // the server's own
	{"$KV.lethe-control.worker.instance.kv-user-context", []string{"worker"}},
	{"$KV.lethe-control.worker.instance", nil},
	{"$KV.lethe-control.lane.kv-user-context", []string{"admin"}},
	{"$KV.lethe-control.anything", nil},
	{"$KV.another.lane.kv-user-context", nil},

	{"$JS.API.INFO", nil},
	{"$JS.API.STREAM.NAMES", nil},
	{"$JS.API.STREAM.LIST", []string{"worker"}}, // of the account that owns the results
	{"$JS.API.STREAM.INFO.DELETION_REQUESTS", []string{"worker", "admin"}},
	{"$JS.API.STREAM.INFO.DELETION_RESULTS", []string{"worker", "admin"}},
	{"$JS.API.STREAM.INFO.DELETION_LATER", []string{"worker", "admin"}},
	{"$JS.API.STREAM.INFO.KV_lethe-control", []string{"worker", "admin"}},
	{"$JS.API.STREAM.CREATE.STREAM", []string{"admin"}},
	{"$JS.API.STREAM.CREATE.ANOTHER", nil},
	{"$JS.API.STREAM.UPDATE.STREAM", []string{"admin"}},
	{"$JS.API.STREAM.DELETE.STREAM", nil},
	{"$JS.API.STREAM.PURGE.STREAM", nil},
	{"$JS.API.STREAM.MSG.DELETE.STREAM", nil},
	{"$JS.API.STREAM.SNAPSHOT.STREAM", nil},
	{"$JS.API.STREAM.RESTORE.STREAM", nil},
	{"$JS.API.STREAM.LEADER.STEPDOWN.STREAM", nil},
	{"$JS.API.STREAM.PEER.REMOVE.STREAM", nil},
	{"$JS.API.META.LEADER.STEPDOWN", nil},

	{"$JS.API.STREAM.MSG.GET.DELETION_REQUESTS", []string{"worker", "admin"}},
	{"$JS.API.STREAM.MSG.GET.DELETION_RESULTS", []string{"worker", "admin"}},
	{"$JS.API.STREAM.MSG.GET.DELETION_LATER", []string{"worker", "admin"}},
	{"$JS.API.STREAM.MSG.GET.KV_lethe-control", []string{"worker", "admin"}},
	{"$JS.API.DIRECT.GET.KV_lethe-control", nil},
	{"$JS.API.DIRECT.GET.KV_lethe-control.$KV.lethe-control.lane.kv-user-context", nil},
	{"$JS.API.CONSUMER.CREATE.KV_lethe-control.name.$KV.lethe-control.lane.*", nil},
	{"$JS.API.DIRECT.GET.DELETION_REQUESTS", nil},
	{"$JS.API.DIRECT.GET.DELETION_LATER", nil},
	{"$JS.API.DIRECT.GET.DELETION_RESULTS", []string{"worker"}},
	{"$JS.API.DIRECT.GET.DELETION_REQUESTS.deletions.requests.kv-user-context", nil},
	{"$JS.API.DIRECT.GET.DELETION_RESULTS.deletions.results.kv-user-context.id.*", []string{"admin"}},
	{"$JS.API.DIRECT.GET.DELETION_RESULTS.deletions.attempts.kv-user-context.id.1", nil},

	{"$JS.API.CONSUMER.LIST.STREAM", nil},
	{"$JS.API.CONSUMER.NAMES.STREAM", nil},
	{"$JS.API.CONSUMER.INFO.DELETION_REQUESTS.LANE", []string{"worker", "admin"}},
	{"$JS.API.CONSUMER.INFO.DELETION_LATER.LANE", []string{"worker", "admin"}},
	{"$JS.API.CONSUMER.INFO.DELETION_RESULTS.name", []string{"worker", "subscriber", "admin"}},
	{"$JS.API.CONSUMER.CREATE.STREAM", nil}, // without a filter in the subject
	{"$JS.API.CONSUMER.CREATE.STREAM.name", nil},
	{"$JS.API.CONSUMER.DURABLE.CREATE.STREAM.name", nil},
	{"$JS.API.CONSUMER.CREATE.STREAM.name.>", nil},
	{"$JS.API.CONSUMER.CREATE.DELETION_REQUESTS.LANE.deletions.requests.kv-user-context", []string{"admin"}},
	{"$JS.API.CONSUMER.CREATE.DELETION_LATER.LANE.deletions.due.kv-user-context", []string{"admin"}},
	{"$JS.API.CONSUMER.CREATE.DELETION_LATER.name.deletions.later.kv-user-context.*", []string{"admin"}},
	{"$JS.API.CONSUMER.CREATE.DELETION_RESULTS.name.deletions.results.>", []string{"subscriber", "admin"}},
	{"$JS.API.CONSUMER.CREATE.DELETION_RESULTS.name.deletions.attempts.>", nil},
	{"$JS.API.CONSUMER.DELETE.STREAM.LANE", []string{"admin"}}, // but for the results, where no lane is
	{"$JS.API.CONSUMER.DELETE.DELETION_LATER.name", []string{"admin"}},
	{"$JS.API.CONSUMER.DELETE.DELETION_RESULTS.name", []string{"subscriber", "admin"}},
	{"$JS.API.CONSUMER.PAUSE.STREAM.LANE", nil},
	{"$JS.API.CONSUMER.UNPIN.STREAM.LANE", nil},
	{"$JS.API.CONSUMER.RESET.STREAM.LANE", nil},
	{"$JS.API.CONSUMER.LEADER.STEPDOWN.STREAM.LANE", nil},
	{"$JS.API.CONSUMER.MSG.NEXT.DELETION_REQUESTS.LANE", []string{"worker"}},
	{"$JS.API.CONSUMER.MSG.NEXT.DELETION_LATER.LANE", []string{"worker"}},
	{"$JS.API.CONSUMER.MSG.NEXT.DELETION_RESULTS.name", []string{"subscriber", "admin"}},
	{"$JS.ACK.DELETION_REQUESTS.LANE.1.1.1.1.0", []string{"worker"}},
	{"$JS.ACK.DELETION_LATER.LANE.1.1.1.1.0", []string{"worker"}},
	{"$JS.ACK.DELETION_RESULTS.name.1.1.1.1.0", nil},
	{"$JS.ACK._.hash.DELETION_RESULTS.name.1.1.1.1.0", nil},
	{"$JS.FC.DELETION_REQUESTS.LANE.x", nil},

	{"$SRV.STATS.lethe", []string{"admin"}},
	{"$SRV.PING", nil},
	{"lethe.lanes.instance", nil},
	{"_INBOX.another", nil},
	{"_R_.another", []string{"worker"}}, // in its own account, where none but it is asked
	{"$SYS.REQ.SERVER.PING.JSZ", []string{"admin"}},
	{"$SYS.REQ.SERVER.PING", nil},
	{"$SYS.REQ.SERVER.PING.CONNZ", nil},
	{"$SYS.REQ.ACCOUNT.LETHE.INFO", nil},
	{"$SYS.REQ.ACCOUNT.PING.CONNZ", nil},
	{"$SYS.REQ.USER.INFO", nil},
	{"anything", nil},
}

// expanded gives w for each stream.
func (w worth) expanded() []worth {
	if !strings.Contains(w.subject, ".STREAM.") && !strings.HasSuffix(w.subject, ".STREAM") || strings.HasPrefix(w.subject, "$JS.API.STREAM.INFO") {
		return []worth{{strings.ReplaceAll(w.subject, "LANE", "kv-user-context"), w.may}}
	}
	var all []worth
	verb, rest, _ := strings.Cut(strings.TrimPrefix(w.subject, "$JS.API."), ".") // STREAM and CONSUMER are verbs too
	for _, stream := range []string{"DELETION_REQUESTS", "DELETION_RESULTS", "DELETION_LATER", "KV_lethe-control"} {
		if strings.Contains(rest, "DELETE.STREAM.LANE") && stream == "DELETION_RESULTS" {
			continue
		}
		if stream == "KV_lethe-control" && verb == "CONSUMER" {
			w.may = nil // no party needs a consumer of the bucket
		}
		subject := "$JS.API." + verb + "." + strings.ReplaceAll(strings.Replace(rest, "STREAM", stream, 1), "LANE", "kv-user-context")
		all = append(all, worth{subject, w.may})
	}
	return all
}

func TestEachPartyHasNoOtherRights(t *testing.T) {
	s := newSite(t)
	for _, party := range parties {
		t.Run(party+": publishing", func(t *testing.T) {
			nc := s.connect(t, party)
			for _, general := range wanted {
				for _, w := range general.expanded() {
					if slices.Contains(w.may, party) {
						continue // TestEachPartyHasTheRightsItNeeds
					}
					if err := nc.Publish(w.subject, nil); err != nil {
						t.Fatal(err)
					}
					refused(t, nc, `Publish to "`+w.subject+`"`)
				}
			}
		})
		t.Run(party+": listening", func(t *testing.T) {
			nc := s.connect(t, party)
			for _, subject := range []string{
				">", "*.>", "deletions.>", "deletions.requests.kv-user-context", "deletions.results.>", "$JS.>", "$JS.API.>", "$JS.ACK.>",
				"$JS.EVENT.>", "$SYS.>", "$SRV.>", "lethe.>", "_R_.>", "_INBOX_OTHERS.>", "*.another.*", "anything",
			} {
				if party == "worker" && subject == "$SRV.>" {
					continue // it answers there
				}
				if _, err := nc.SubscribeSync(subject); err != nil {
					t.Fatal(err)
				}
				refused(t, nc, `Subscription to "`+subject+`"`)
			}
		})
	}
}

// refused fails the test unless the server has refused the last thing that was sent, naming it. The server answers in
// order, so that once the flush is answered the refusal has come.
func refused(t *testing.T, nc *nats.Conn, what string) {
	t.Helper()
	if err := nc.Flush(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := nc.LastError(); err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower("permissions violation for "+what)) {
		t.Errorf("%s was not refused: %v", what, err)
	}
}

// The boundary between accounts and the users' permissions say the same, so that each holds without the other.
func TestAUserMayPublishWhatItsAccountImports(t *testing.T) {
	s := newSite(t)
	for _, user := range s.users(t) {
		t.Run(user.Username, func(t *testing.T) {
			imports := s.imports(t, user.Account.Name)
			if !slices.Contains(imports, "$JS.API.INFO") {
				t.Error("$JS.API.INFO is not imported, so the server answers for an account without JetStream")
			}
			imports = slices.DeleteFunc(imports, func(s string) bool { return s == "$JS.API.INFO" })
			allowed := slices.DeleteFunc(slices.Clone(user.Permissions.Publish.Allow), func(s string) bool { return s == "_R_.>" })
			slices.Sort(imports)
			slices.Sort(allowed)
			if !slices.Equal(imports, allowed) {
				t.Errorf("imports %q\nallowed %q", imports, allowed)
			}
		})
	}
	t.Run("the accounts of the streams and the servers have no users", func(t *testing.T) {
		for _, user := range s.users(t) {
			if slices.Contains([]string{"LETHE", "RESULTS", "SYS"}, user.Account.Name) {
				t.Errorf("%s is in %s", user.Username, user.Account.Name)
			}
		}
	})
}

// The README of deploy/nats says how.
func TestAnAccountForAnotherPublisherIsAddedByCopyingABlock(t *testing.T) {
	files(t)
	certify(t, "client", "crm")
	accounts := string(read(t, "accounts.conf"))
	_, block, found := strings.Cut(accounts, "# lethe request kv-user-context\n")
	block, _, ends := strings.Cut(block, "# lethe request sensay-knowledge-base\n")
	if !found || !ends {
		t.Fatal("accounts.conf has no block of PUBLISHER_KV")
	}
	another := strings.NewReplacer("PUBLISHER_KV", "CRM", "CN=publisher-kv", "CN=crm").Replace(block)
	accounts = strings.ReplaceAll(accounts, "[PUBLISHER_KV,", "[CRM, PUBLISHER_KV,")
	accounts = strings.Replace(accounts, block, block+another, 1)
	config := strings.Replace(string(read(t, "server.conf")), "include accounts.conf", accounts, 1)
	name := filepath.Join(t.TempDir(), "with-crm.conf")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := siteOf(t, options(t, name))

	s.run(t, "admin", "setup").must(t)
	s.run(t, "crm", "request", "kv-user-context", "--id", "10").must(t)
	nc := s.connect(t, "crm")
	if err := nc.Publish("deletions.requests.sensay-knowledge-base", nil); err != nil {
		t.Fatal(err)
	}
	refused(t, nc, `Publish to "deletions.requests.sensay-knowledge-base"`)
}
