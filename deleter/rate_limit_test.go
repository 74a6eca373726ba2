package deleter

import (
	"math"
	"net/http"
	"testing"
	"time"
)

func TestParseQuota(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name   string
		header http.Header
		want   Quota
	}{
		{"nothing", http.Header{}, Quota{}},
		{"a policy", http.Header{"Ratelimit-Policy": {`"default";q=500;w=1`}}, Quota{Rate: 500}},
		{"the lowest of several", http.Header{"Ratelimit-Policy": {`"burst";q=100;w=1, "minute";q=600;w=60`}}, Quota{Rate: 10}},
		{"in two lines", http.Header{"Ratelimit-Policy": {`"burst";q=100;w=1`, `"minute";q=600;w=60`}}, Quota{Rate: 10}},
		{"a policy for a day is ignored", http.Header{"Ratelimit-Policy": {`"day";q=100;w=86400, "second";q=5;w=1`}}, Quota{Rate: 5}},
		{"a policy for bytes is ignored", http.Header{"Ratelimit-Policy": {`"b";q=100;w=1;qu="content-bytes", "a";q=7;w=1;qu="requests"`}}, Quota{Rate: 7}},
		{"a lower policy for bytes is ignored", http.Header{"Ratelimit-Policy": {`"b";q=3;w=1;qu="content-bytes", "a";q=7;w=1;qu="request"`}}, Quota{Rate: 7}},
		{"the lowest of several comes first", http.Header{"Ratelimit-Policy": {`"minute";q=600;w=60, "burst";q=100;w=1`}}, Quota{Rate: 10}},
		{"the lowest rate", http.Header{"Ratelimit-Policy": {`"slow";q=1;w=60`}}, Quota{Rate: 1. / 60}},
		{"a quota of zero beside another", http.Header{"Ratelimit-Policy": {`"a";q=5;w=1, "b";q=0;w=1`}}, Quota{Rate: 5}},
		{"an older policy, negative", http.Header{"Ratelimit-Policy": {`-5;w=1`}}, Quota{}},
		{"no window", http.Header{"Ratelimit-Policy": {`"default";q=500`}}, Quota{}},
		{"a quota of zero", http.Header{"Ratelimit-Policy": {`"default";q=0;w=1`}}, Quota{}},
		{"a window of zero", http.Header{"Ratelimit-Policy": {`"default";q=5;w=0`}}, Quota{}},
		{"negative", http.Header{"Ratelimit-Policy": {`"default";q=-5;w=1`}}, Quota{}},
		{"an older policy", http.Header{"Ratelimit-Policy": {`100;w=10, 1000;w=3600`}}, Quota{Rate: 10}},
		{"an inner list", http.Header{"Ratelimit-Policy": {`(1 2);q=5;w=1`}}, Quota{}},
		{"not a structured field", http.Header{"Ratelimit-Policy": {`100 per second`}, "Ratelimit": {`;;;`}}, Quota{}},
		{"something remains", http.Header{"Ratelimit": {`"default";r=37;t=1`}}, Quota{}},
		{"nothing remains", http.Header{"Ratelimit": {`"default";r=0;t=7`}}, Quota{Wait: 7 * time.Second}},
		{"nothing of some quotas remains", http.Header{"Ratelimit": {`"a";r=5;t=1, "b";r=0;t=7, "c";r=0;t=3`}}, Quota{Wait: 7 * time.Second}},
		{"nothing remains, without a time", http.Header{"Ratelimit": {`"default";r=0`}}, Quota{}},
		{"nothing remains in an inner list", http.Header{"Ratelimit": {`(1 2);r=0;t=7`}}, Quota{}},
		{"a dictionary that does not say what remains", http.Header{"Ratelimit": {`limit=100, reset=5`}}, Quota{}},
		{"a dictionary with a word for what remains", http.Header{"Ratelimit": {`limit=100, remaining=none, reset=5`}}, Quota{}},
		{"a reset alone", http.Header{"X-Ratelimit-Reset": {"9"}}, Quota{}},
		{"a dictionary", http.Header{"Ratelimit": {`limit=100, remaining=0, reset=5`}}, Quota{Wait: 5 * time.Second}},
		{"a header for each value", http.Header{"Ratelimit-Limit": {"100"}, "Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"5"}}, Quota{Wait: 5 * time.Second}},
		{"seconds", http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {" 9 "}}, Quota{Wait: 9 * time.Second}},
		{"a Unix time", http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1800000060"}}, Quota{Wait: time.Minute}},
		{"in milliseconds", http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1800000059001"}}, Quota{Wait: time.Minute}},
		{"by the API's clock", http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1800000060"}, "Date": {time.Unix(1_800_000_050, 0).UTC().Format(http.TimeFormat)}}, Quota{Wait: 10 * time.Second}},
		{"a time in the past", http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1700000000"}}, Quota{}},
		{"some remain", http.Header{"X-Ratelimit-Remaining": {"3"}, "X-Ratelimit-Reset": {"9"}}, Quota{}},
		{"no numbers", http.Header{"X-Ratelimit-Remaining": {"-0"}, "X-Ratelimit-Reset": {"+9"}}, Quota{}},
		{"too large", http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"99999999999999999999"}}, Quota{}},
		{"centuries", http.Header{"Ratelimit": {`"default";r=0;t=999999999999999`}}, Quota{Wait: math.MaxInt64 / time.Second * time.Second}},
	} {
		if got := ParseQuota(c.header, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func FuzzParseQuota(f *testing.F) {
	f.Add(`"default";q=500;w=1`, `"default";r=0;t=1`, "0", "1")
	f.Add(`100;w=10, 1000;w=3600`, `limit=100, remaining=0, reset=5`, "37", "1800000000")
	f.Add(`"a";q=999999999999999;w=1`, `"a";r=0;t=999999999999999`, "0", "9223372036854775807")
	f.Add(`(1 "2");q=1.5;w=?1`, `a=(1 2);b, c`, "-1", "1e9")
	f.Fuzz(func(t *testing.T, policy, limit, remaining, reset string) {
		header := http.Header{}
		header.Set("RateLimit-Policy", policy)
		header.Set("RateLimit", limit)
		header.Set("X-RateLimit-Remaining", remaining)
		header.Set("X-RateLimit-Reset", reset)
		header.Set("Date", reset)
		q := ParseQuota(header, time.Unix(1_800_000_000, 0))
		if q.Wait < 0 || !(q.Rate >= 0) || math.IsInf(q.Rate, 0) || q.Rate > 0 && q.Rate < 1./maxRateWindow {
			t.Errorf("%+v", q)
		}
	})
}
