package consumer

import (
	"flag"
	"testing"
)

var deep = flag.Bool("model.deep", false, "explore the larger cases too, which takes minutes and gigabytes")

func TestTheProtocolKeepsItsInvariantsUnderAnyFault(t *testing.T) {
	for _, c := range []struct {
		name string
		deep bool
		limits
	}{
		{"recorded", false, limits{copies: 1, crashes: 1, suspensions: 1, failures: 1, recorded: true}},
		{"recorded, absent entry", false, limits{copies: 1, crashes: 1, suspensions: 1, failures: 1, absent: true, recorded: true}},
		{"recorded, absent entry, published twice", false, limits{copies: 2, failures: 2, absent: true, recorded: true}},
		{"recorded, published twice", false, limits{copies: 2, crashes: 1, failures: 1, recorded: true}},
		{"recorded, missed turns", false, limits{copies: 1, crashes: 1, missedTurns: 2, failures: 1, recorded: true}},
		{"recorded, absent entry, missed turns", false, limits{copies: 2, crashes: 1, missedTurns: 1, absent: true, recorded: true}},
		{"recorded, records that expire", false, limits{copies: 1, crashes: 1, failures: 1, expiries: 1, recorded: true}},
		{"recorded, absent entry, records that expire", false, limits{copies: 1, crashes: 1, suspensions: 1, expiries: 1, absent: true, recorded: true}},
		{"recorded, foreign messages", false, limits{copies: 1, crashes: 1, failures: 1, foreign: 2, recorded: true}},
		{"recorded, published twice, foreign messages", false, limits{copies: 2, crashes: 1, foreign: 1, recorded: true}},
		{"not recorded, records that expire, foreign messages", false, limits{copies: 1, crashes: 1, failures: 1, expiries: 1, foreign: 1}},
		{"not recorded", false, limits{copies: 1, crashes: 1, suspensions: 1, failures: 1}},
		{"not recorded, published twice", false, limits{copies: 2, crashes: 1, failures: 1}},
		{"recorded, a forbidden request", false, limits{copies: 1, crashes: 1, recorded: true, forbidden: true}},
		{"recorded, a revoked credential", false, limits{copies: 1, crashes: 1, recorded: true, revocable: true}},
		{"not recorded, a forbidden request, published twice", false, limits{copies: 2, forbidden: true}},
		{"not recorded, a revoked credential, failures", false, limits{copies: 1, failures: 1, revocable: true}},
		{"not recorded, a revoked credential, published twice", false, limits{copies: 2, revocable: true}},

		{"recorded, a forbidden request, suspensions", true, limits{copies: 1, crashes: 1, suspensions: 1, recorded: true, forbidden: true}},
		{"recorded, a revoked credential, failures", true, limits{copies: 1, crashes: 1, failures: 1, recorded: true, revocable: true}},
		{"not recorded, a revoked credential, everything", true, limits{copies: 2, crashes: 1, revocable: true}},
		{"recorded, many failures", true, limits{copies: 1, crashes: 1, suspensions: 1, failures: 2, recorded: true}},
		{"recorded, many crashes", true, limits{copies: 1, crashes: 2, suspensions: 1, failures: 1, recorded: true}},
		{"recorded, many suspensions", true, limits{copies: 1, crashes: 1, suspensions: 2, failures: 1, recorded: true}},
		{"recorded, published twice, everything", true, limits{copies: 2, crashes: 1, suspensions: 1, failures: 1, recorded: true}},
		{"recorded, missed turns, everything", true, limits{copies: 1, crashes: 1, suspensions: 1, missedTurns: 1, failures: 1, recorded: true}},
		{"recorded, records that expire, everything", true, limits{copies: 1, crashes: 1, suspensions: 1, failures: 1, expiries: 1, recorded: true}},
		{"recorded, foreign messages, everything", true, limits{copies: 1, crashes: 1, suspensions: 1, failures: 1, expiries: 1, foreign: 1, recorded: true}},
		{"not recorded, everything", true, limits{copies: 2, crashes: 1, suspensions: 1, failures: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.deep && !*deep {
				t.Skip("only with -model.deep")
			}
			m, bad := explore(c.limits, brokenRules{}, allKept)
			t.Logf("%d states", len(m.reached))
			if bad != nil {
				t.Errorf("%s:\n%s", bad.violated, m.trace(*bad))
			}
			m.compareSentences(t)
		})
	}
}

func TestTheModelCatchesEachBrokenRule(t *testing.T) {
	t.Parallel()
	all := limits{copies: 1, crashes: 1, suspensions: 1, failures: 1, recorded: true}
	for _, c := range []struct {
		name string
		limits
		brokenRules
		want promise
	}{
		{"acknowledging before the result is stored", all, brokenRules{ackFirst: true}, nothingLost},
		{"no expectation", all, brokenRules{noExpectation: true}, oneFinal},
		{"attempts not recorded", all, brokenRules{noAttempts: true}, notFoundIsTrue},
		{"the answer to an attempt not recorded", limits{copies: 2, failures: 1, absent: true, recorded: true}, brokenRules{noAnswers: true}, deletedIsPossible},
		{"an unanswered attempt is forgotten", all, brokenRules{noUnanswered: true}, notFoundIsTrue},
		{"a claim without a call not released", limits{copies: 1, missedTurns: 1, absent: true, recorded: true}, brokenRules{noRelease: true}, deletedIsPossible},
		{"the time after a refusal always counts", limits{copies: 1, revocable: true}, brokenRules{alwaysCounts: true}, refusedIsTrue},
		{"an acceptance from before the refusal counts", limits{copies: 1, revocable: true}, brokenRules{staleCounts: true}, refusedIsTrue},
		{"an acceptance from during the call counts", limits{copies: 1, revocable: true}, brokenRules{lateCounts: true}, refusedIsTrue},
		{"postponed without a schedule", limits{copies: 1, revocable: true}, brokenRules{postponesUnscheduled: true}, nothingLost},
		{"expired records count as none", limits{copies: 1, crashes: 1, expiries: 1, recorded: true}, brokenRules{ignoresLoss: true}, notFoundIsTrue},
		{"waiting until a foreign message is gone", limits{copies: 1, foreign: 1, recorded: true}, brokenRules{waitsForForeign: true}, terminates},
		{"following a foreign message without a read", limits{copies: 1, suspensions: 1, foreign: 1, recorded: true}, brokenRules{skipsRead: true}, oneFinal},
		{"no lease", all, brokenRules{noLease: true}, noCallAfterFinal},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, bad := explore(c.limits, c.brokenRules, c.want)
			if bad == nil {
				t.Fatalf("no violation in %d states", len(m.reached))
			}
			t.Logf("after %d states: %s", len(m.reached), bad.violated)
		})
	}
}
