package deleter

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// Quota is the rate limit that an API states, zero where it states none. It has no
// upper bound.
type Quota struct {
	// Rate is how many calls a second it allows.
	Rate float64
	// Wait is how long it allows none, after all were used.
	Wait time.Duration
}

// maxRateWindow is the longest window that gives a rate, in seconds. A quota for an
// hour or a day may be used at once: the API says so when nothing remains.
const maxRateWindow = 60

// quotaHeaders are the headers that [ParseQuota] reads, as net/http spells them.
var quotaHeaders = []string{
	"Ratelimit-Policy", "Ratelimit", "Ratelimit-Remaining", "Ratelimit-Reset", "X-Ratelimit-Remaining", "X-Ratelimit-Reset",
}

// ParseQuota reads the rate limits in the headers of an answer, in these spellings,
// and ignores all others:
//
//	RateLimit-Policy: "default";q=500;w=1         draft-ietf-httpapi-ratelimit-headers, 08 and later
//	RateLimit: "default";r=37;t=1
//	RateLimit-Policy: 500;w=1                     07 and before
//	RateLimit: limit=500, remaining=37, reset=1   07
//	RateLimit-Remaining: 37, RateLimit-Reset: 1   06 and before
//	X-RateLimit-Remaining: 37, X-RateLimit-Reset  in seconds, or as a Unix time in seconds or milliseconds
func ParseQuota(header http.Header, now time.Time) (q Quota) {
	if !slices.ContainsFunc(quotaHeaders, func(name string) bool { return header[name] != nil }) {
		return q // as in most answers
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date // the API's own clock
	}
	policies, _ := httpsfv.UnmarshalList(header.Values("RateLimit-Policy"))
	for _, member := range policies {
		item, ok := member.(httpsfv.Item)
		if !ok {
			continue
		}
		calls, named := whole(item.Params, "q")
		if !named {
			calls, named = item.Value.(int64)
		}
		unit, other := item.Params.Get("qu")
		window, windowed := whole(item.Params, "w")
		if !named || !windowed || calls < 1 || window < 1 || window > maxRateWindow || other && unit != "request" && unit != "requests" {
			continue
		}
		if rate := float64(calls) / float64(window); q.Rate == 0 || rate < q.Rate {
			q.Rate = rate
		}
	}
	if limits, err := httpsfv.UnmarshalList(header.Values("RateLimit")); err == nil {
		for _, member := range limits {
			if item, ok := member.(httpsfv.Item); ok {
				q.exhausted(whole(item.Params, "r"))(whole(item.Params, "t"))
			}
		}
	}
	if limits, err := httpsfv.UnmarshalDictionary(header.Values("RateLimit")); err == nil {
		q.exhausted(member(limits, "remaining"))(member(limits, "reset"))
	}
	for _, prefix := range []string{"RateLimit-", "X-RateLimit-"} {
		q.exhausted(digits(header.Get(prefix + "Remaining")))(reset(header.Get(prefix+"Reset"), now))
	}
	return q
}

// exhausted sets the wait if no calls remain. It is curried so that it takes the results
// of two functions.
func (q *Quota) exhausted(remaining int64, known bool) func(seconds int64, known bool) {
	return func(seconds int64, stated bool) {
		if known && stated && remaining == 0 {
			q.Wait = max(q.Wait, time.Duration(min(max(seconds, 0), math.MaxInt64/int64(time.Second)))*time.Second)
		}
	}
}

// whole returns an integer parameter that is not negative.
func whole(params *httpsfv.Params, name string) (n int64, ok bool) {
	value, _ := params.Get(name)
	n, ok = value.(int64)
	return n, ok && n >= 0
}

// member returns an integer member of a dictionary that is not negative.
func member(d *httpsfv.Dictionary, name string) (n int64, ok bool) {
	found, _ := d.Get(name)
	item, _ := found.(httpsfv.Item)
	n, ok = item.Value.(int64)
	return n, ok && n >= 0
}

// digits reads a number that is written in digits only.
func digits(value string) (n int64, ok bool) {
	value = strings.TrimSpace(value)
	if value == "" || strings.Trim(value, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(value, 10, 64)
	return n, err == nil
}

// reset returns when a window ends, in seconds from now. A large number is a Unix
// time.
func reset(value string, now time.Time) (seconds int64, ok bool) {
	const minUnixSeconds, minUnixMillis = 1e9, 1e11 // 2001, and 1973
	seconds, ok = digits(value)
	switch {
	case seconds >= minUnixMillis:
		seconds = ceilDiv(seconds-now.UnixMilli(), 1000)
	case seconds >= minUnixSeconds:
		seconds -= now.Unix()
	}
	return max(seconds, 0), ok
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
