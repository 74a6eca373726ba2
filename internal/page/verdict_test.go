package page

import (
	"strings"
	"testing"
	"time"
)

func TestTheVerdictNamesWhatMattersMost(t *testing.T) {
	problem := func(state, reason string) Lane {
		return Lane{Target: sensay, State: state, Problems: []Problem{{State: state, Reason: reason, Since: time.Now()}}}
	}
	fine, paused, failing := aLane(kv, 3), problem("paused", "paused by a person: maintenance"), problem("failing", "the API does not answer")
	blocked := problem("blocked", "stream DELETION_RESULTS: full")
	blocked.Target = kv
	off := Lane{Target: sensay, State: "off", NotServed: true, Problems: []Problem{{State: "off", Reason: "not in LETHE_TARGETS"}}}
	keyless := problem("off", "no credential is set")
	for name, c := range map[string]struct {
		situation Situation
		level     level
		word      string
		says      string
	}{
		"every lane runs":                  {Situation{Lanes: []Lane{fine, aLane(sensay, 4)}}, good, "All well", "7 requests wait"},
		"nothing waits":                    {Situation{Lanes: []Lane{aLane(kv, 0)}}, good, "All well", "no request waits"},
		"counts are unknown":               {Situation{Lanes: []Lane{{Target: kv, State: "running"}}}, good, "All well", "The lane is running."},
		"a lane is off by choice":          {Situation{Lanes: []Lane{fine, off}}, good, "All well", "The lane is running"},
		"a lane is off without credential": {Situation{Lanes: []Lane{fine, keyless}}, bad, "Off", "no credential is set."},
		"a lane is paused":                 {Situation{Lanes: []Lane{fine, paused}}, caution, "Paused", "sensay-knowledge-base is paused by a person: maintenance."},
		"a lane is slow":                   {Situation{Lanes: []Lane{problem("running", "calls are slow")}}, caution, "Attention", "is running, but calls are slow."},
		"a lane fails":                     {Situation{Lanes: []Lane{fine, failing}}, bad, "Failing", "does not answer."},
		"failing is worse than paused":     {Situation{Lanes: []Lane{paused, failing}}, bad, "Failing", "does not answer."},
		"two lanes are stopped":            {Situation{Lanes: []Lane{blocked, failing}}, bad, "Stopped", "2 of 2 lanes answer no requests: kv-user-context is blocked, sensay-knowledge-base is failing."},
		"the server is gone":               {Situation{NotReady: "not connected to NATS", Lanes: []Lane{fine}}, bad, "Not working", "not connected to NATS."},
		"it was never connected":           {Situation{NotReady: "still waiting for NATS"}, bad, "Not working", "still waiting for NATS."},
		"a state of a newer version":       {Situation{Lanes: []Lane{problem("perplexed", "it is new")}}, bad, "Perplexed", "it is new."},
		"no lane is served":                {Situation{Lanes: []Lane{off}}, caution, "Idle", "serves no lane."},
	} {
		t.Run(name, func(t *testing.T) {
			got := judge(c.situation)
			if got.Level != c.level || got.Word != c.word || !strings.Contains(got.Sentence, c.says) {
				t.Errorf("%+v", got)
			}
		})
	}
}
