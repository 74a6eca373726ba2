package deleter

import (
	"math"
	"net/http"
	"strings"
	"time"
)

// ParseRetryAfter reads Retry-After headers: seconds or dates (RFC 9110, section
// 10.2.3). Some servers write fractions of seconds, which are rounded up. It
// returns the longest wait from now; 0 if none is readable, or all are in the past.
// It has no upper bound of its own.
func ParseRetryAfter(values []string, now time.Time) (wait time.Duration) {
	for _, value := range values {
		if date, err := http.ParseTime(strings.TrimSpace(value)); err == nil {
			wait = max(wait, date.Sub(now))
			continue
		}
		for seconds := range strings.SplitSeq(value, ",") { // as a proxy joins several
			wait = max(wait, parseSeconds(strings.TrimSpace(seconds)))
		}
	}
	return wait
}

func parseSeconds(value string) time.Duration {
	whole, fraction, _ := strings.Cut(value, ".")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0
	}
	const most = math.MaxInt64 / int64(time.Second)
	var seconds int64
	for _, digit := range whole {
		if seconds = seconds*10 + int64(digit-'0'); seconds >= most {
			return math.MaxInt64
		}
	}
	if strings.Trim(fraction, "0") != "" {
		seconds++
	}
	return time.Duration(seconds) * time.Second
}
