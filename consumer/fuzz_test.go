package consumer

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

// Only workers write links, but whoever may publish there could write anything.
func FuzzReadLink(f *testing.F) {
	f.Add("deletions.attempts.kv-user-context.r1.3", "0192f0c1", "f", "worker", "105s", "3")
	f.Add("deletions.results.kv-user-context.r1.deleted", "0192f0c1", "", "", "", "")
	f.Add("deletions.results.kv-user-context.r1.deleted", "", "f", "worker", "-1h", "-3")
	f.Add("deletions.results..r1", "x", "f", "w", "1e99h", "99999999999999999999")
	f.Fuzz(func(t *testing.T, subject, name, fingerprint, instance, lease, attempts string) {
		l, err := readLink(&storedMessage{Subject: subject, Seq: 7, Header: nats.Header{
			headerLink: {name}, headerFingerprint: {fingerprint}, headerInstance: {instance}, headerLease: {lease}, headerAttempt: {attempts},
		}})
		tokens := strings.Split(subject, ".")
		if (err == nil) != (len(tokens) == 5 && name != "") {
			t.Fatalf("%q by %q: %v", subject, name, err)
		}
		if err != nil {
			return
		}
		if l.Seq != 7 || l.History.Seq != 7 || l.History.Attempts < 0 || l.name != name || l.Fingerprint != fingerprint {
			t.Errorf("read as %+v", l)
		}
		if _, bad := time.ParseDuration(lease); bad != nil && l.Lease != 0 {
			t.Errorf("a lease of %v from %q", l.Lease, lease)
		}
		if l.Outcome.Final() && string(l.Outcome) != tokens[4] {
			t.Errorf("%s from %q", l.Outcome, subject)
		}
	})
}

// What goes into a schedule is the event, and nothing that commands the server
// or passes for the worker's own.
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
				t.Errorf("%q is kept", name)
			}
		}
		first, why := events.ReadRequest(kvTarget, all, []byte(body))
		again, whyAgain := events.ReadRequest(kvTarget, kept, []byte(body))
		first.TraceParent, first.TraceState = again.TraceParent, again.TraceState
		if diff := cmp.Diff(first, again); diff != "" || (why == nil) != (whyAgain == nil) {
			t.Errorf("read again as another event, %v, %v (-first +again):\n%s", why, whyAgain, diff)
		}
	})
}
