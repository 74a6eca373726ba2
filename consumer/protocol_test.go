package consumer

import (
	"flag"
	"testing"
)

var deep = flag.Bool("model.deep", false, "explore the larger lives too, which takes minutes and gigabytes")

func TestTheProtocolKeepsItsInvariantsUnderAnyFault(t *testing.T) {
	for _, c := range []struct {
		name string
		deep bool
		limits
	}{
		{"recorded", false, limits{copies: 1, crashes: 1, stalls: 1, troubles: 1, recorded: true}},
		{"recorded, never there", false, limits{copies: 1, crashes: 1, stalls: 1, troubles: 1, absent: true, recorded: true}},
		{"recorded, never there, published twice", false, limits{copies: 2, troubles: 2, absent: true, recorded: true}},
		{"recorded, published twice", false, limits{copies: 2, crashes: 1, troubles: 1, recorded: true}},
		{"recorded, turns that do not come", false, limits{copies: 1, crashes: 1, misses: 2, troubles: 1, recorded: true}},
		{"recorded, never there, turns that do not come", false, limits{copies: 2, crashes: 1, misses: 1, absent: true, recorded: true}},
		{"recorded, records that expire", false, limits{copies: 1, crashes: 1, troubles: 1, expiries: 1, recorded: true}},
		{"recorded, never there, records that expire", false, limits{copies: 1, crashes: 1, stalls: 1, expiries: 1, absent: true, recorded: true}},
		{"recorded, foreign messages", false, limits{copies: 1, crashes: 1, troubles: 1, foreign: 2, recorded: true}},
		{"recorded, published twice, foreign messages", false, limits{copies: 2, crashes: 1, foreign: 1, recorded: true}},
		{"not recorded, records that expire, foreign messages", false, limits{copies: 1, crashes: 1, troubles: 1, expiries: 1, foreign: 1}},
		{"not recorded", false, limits{copies: 1, crashes: 1, stalls: 1, troubles: 1}},
		{"not recorded, published twice", false, limits{copies: 2, crashes: 1, troubles: 1}},
		{"recorded, refused for itself", false, limits{copies: 1, crashes: 1, recorded: true, forbidden: true}},
		{"recorded, a revoked credential", false, limits{copies: 1, crashes: 1, recorded: true, revocable: true}},
		{"not recorded, refused for itself, published twice", false, limits{copies: 2, forbidden: true}},
		{"not recorded, a revoked credential, failures", false, limits{copies: 1, troubles: 1, revocable: true}},
		{"not recorded, a revoked credential, published twice", false, limits{copies: 2, revocable: true}},

		{"recorded, refused for itself, stalls", true, limits{copies: 1, crashes: 1, stalls: 1, recorded: true, forbidden: true}},
		{"recorded, a revoked credential, failures", true, limits{copies: 1, crashes: 1, troubles: 1, recorded: true, revocable: true}},
		{"not recorded, a revoked credential, all", true, limits{copies: 2, crashes: 1, revocable: true}},
		{"recorded, many failures", true, limits{copies: 1, crashes: 1, stalls: 1, troubles: 2, recorded: true}},
		{"recorded, many crashes", true, limits{copies: 1, crashes: 2, stalls: 1, troubles: 1, recorded: true}},
		{"recorded, many stalls", true, limits{copies: 1, crashes: 1, stalls: 2, troubles: 1, recorded: true}},
		{"recorded, published twice, all", true, limits{copies: 2, crashes: 1, stalls: 1, troubles: 1, recorded: true}},
		{"recorded, turns that do not come, all", true, limits{copies: 1, crashes: 1, stalls: 1, misses: 1, troubles: 1, recorded: true}},
		{"recorded, records that expire, all", true, limits{copies: 1, crashes: 1, stalls: 1, troubles: 1, expiries: 1, recorded: true}},
		{"recorded, foreign messages, all", true, limits{copies: 1, crashes: 1, stalls: 1, troubles: 1, expiries: 1, foreign: 1, recorded: true}},
		{"not recorded, all", true, limits{copies: 2, crashes: 1, stalls: 1, troubles: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.deep && !*deep {
				t.Skip("only with -model.deep")
			}
			m, bad := explore(c.limits, broken{}, allKept)
			t.Logf("%d states", len(m.reached))
			if bad != nil {
				t.Errorf("%s:\n%s", bad.broken, m.story(*bad))
			}
			m.compareSentences(t)
		})
	}
}

func TestTheCheckerSeesEachBrokenRule(t *testing.T) {
	all := limits{copies: 1, crashes: 1, stalls: 1, troubles: 1, recorded: true}
	for _, c := range []struct {
		name string
		limits
		broken
		want promise
	}{
		{"acknowledging first", all, broken{ackFirst: true}, nothingLost},
		{"no expectation", all, broken{noExpectation: true}, oneFinal},
		{"attempts not recorded", all, broken{noAttempts: true}, notFoundIsTrue},
		{"what came of an attempt not recorded", limits{copies: 2, troubles: 1, absent: true, recorded: true}, broken{noAnswers: true}, deletedIsPossible},
		{"the unanswered attempt forgotten", all, broken{noUnanswered: true}, notFoundIsTrue},
		{"a claim without a call not released", limits{copies: 1, misses: 1, absent: true, recorded: true}, broken{noRelease: true}, deletedIsPossible},
		{"time of a refusal counts always", limits{copies: 1, revocable: true}, broken{alwaysCounts: true}, refusedIsTrue},
		{"an acceptance from before the refusal counts", limits{copies: 1, revocable: true}, broken{staleCounts: true}, refusedIsTrue},
		{"an acceptance from during the call counts", limits{copies: 1, revocable: true}, broken{lateCounts: true}, refusedIsTrue},
		{"put off without a schedule", limits{copies: 1, revocable: true}, broken{putOffUnscheduled: true}, nothingLost},
		{"lost records mistaken for none", limits{copies: 1, crashes: 1, expiries: 1, recorded: true}, broken{noLoss: true}, notFoundIsTrue},
		{"waiting for a foreign message to go", limits{copies: 1, foreign: 1, recorded: true}, broken{waits: true}, anEnd},
		{"following a foreign message without a read", limits{copies: 1, stalls: 1, foreign: 1, recorded: true}, broken{blindPast: true}, oneFinal},
		{"no lease", all, broken{noLease: true}, noCallAfterFinal},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, bad := explore(c.limits, c.broken, c.want)
			if bad == nil {
				t.Fatalf("nothing was found in %d states", len(m.reached))
			}
			t.Logf("after %d states: %s", len(m.reached), bad.broken)
		})
	}
}
