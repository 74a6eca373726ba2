package ledger

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// Only workers write records, but any client with the permission can publish anything there.
func FuzzReadRecord(f *testing.F) {
	f.Add("deletions.attempts.kv-user-context.r1.3", "0192f0c1-7c1e-7b6e-a8f4-0c7c3a5f1d11", "f", "worker", "105s", "3")
	f.Add("deletions.results.kv-user-context.r1.deleted", "0192f0c1-7c1e-7b6e-a8f4-0c7c3a5f1d11", "f", "worker", "", "1")
	f.Add("deletions.results.kv-user-context.r1.deleted", "", "f", "worker", "-1h", "-3")
	f.Add("deletions.results..r1", "x", "f", "w", "1e99h", "99999999999999999999")
	f.Fuzz(func(t *testing.T, subject, name, fingerprint, instance, lease, attempts string) {
		tokens := strings.Split(subject+"....", ".")
		n, _ := strconv.Atoi(attempts)
		body, err := json.Marshal(attempt{tokens[3], events.Target(tokens[2]), n, instance})
		if err != nil {
			t.Skip()
		}
		l, err := ReadRecord(&streams.Message{Subject: subject, Seq: 7, Data: body, Header: nats.Header{
			headerRecord: {name}, headerFingerprint: {fingerprint}, headerInstance: {instance}, headerLease: {lease}, headerAttempt: {attempts},
			headerMayHaveDeleted: {"true"}, headerExpected: {"5"}, headerStep: {stepDelete}, headerRequestSeq: {"1"},
		}})
		if err != nil {
			return
		}
		if strings.Count(subject, ".") != 4 || l.Seq != 7 || l.Progress.Seq != 7 || fmt.Sprint(l.Progress.Attempts) != attempts || !l.Progress.MayHaveDeleted ||
			l.name != name || l.Fingerprint != fingerprint || fingerprint == "" || l.Instance != instance || instance == "" {
			t.Errorf("%q read as %+v", subject, l)
		}
		switch tokens[1] {
		case "attempts":
			if d, err := time.ParseDuration(lease); l.Outcome != "" || tokens[4] != attempts || err != nil || d != l.Lease {
				t.Errorf("%q read as an attempt %+v", subject, l)
			}
		case "results":
			if string(l.Outcome) != tokens[4] || !l.Outcome.Known() {
				t.Errorf("%q read as a result %+v", subject, l)
			}
		default:
			t.Errorf("%q read as %+v", subject, l)
		}
	})
}

// A schedule contains the event's headers only: none that is a command to the server, and none
// that looks like a worker's.
func FuzzEventHeaders(f *testing.F) {
	f.Add("ce-id", "Nats-Rollup", "Lethe-Attempt", "all", `{"ids":[1]}`)
	f.Add("Content-Type", "CE-Source", "ce-ſource", "application/json", "")
	f.Add("content-type", "Content-Type", "nats-schedule", "application/cloudevents+json", "{}")
	f.Fuzz(func(t *testing.T, a, b, c, value, body string) {
		all := nats.Header{a: {value}, b: {value, value}, c: {"1.0"}}
		kept := eventHeaders(all)
		for name := range kept {
			lower := strings.ToLower(name)
			if strings.HasPrefix(lower, "nats-") || strings.HasPrefix(lower, "lethe-") {
				t.Errorf("%q is not removed", name)
			}
		}
		first, why := events.ReadRequest(kvTarget, all, []byte(body))
		again, whyAgain := events.ReadRequest(kvTarget, kept, []byte(body))
		first.TraceParent, first.TraceState = again.TraceParent, again.TraceState
		if diff := cmp.Diff(first, again); diff != "" || (why == nil) != (whyAgain == nil) {
			t.Errorf("it is read as another event, %v, %v (-first +again):\n%s", why, whyAgain, diff)
		}
	})
}
