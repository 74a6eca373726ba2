package deleter

import (
	"errors"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// ParseRetryAfter reads a Retry-After header: seconds or a date (RFC 9110,
// section 10.2.3). It returns how long to wait from now; 0 if the value is
// missing, unreadable or in the past. It has no upper bound of its own.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > math.MaxInt64/int64(time.Second) {
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(date.Sub(now), 0)
}

// CheckBaseURL returns the URL of an API. It must be https, or plain http to
// this machine, unless allowHTTP; and it must hold nothing but scheme, host and
// path.
func CheckBaseURL(raw string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must begin with https://")
	case u.Hostname() == "":
		return nil, errors.New("names no host")
	case u.User != nil:
		return nil, errors.New("must hold no user or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("must hold no query and no fragment")
	case u.Scheme == "http" && !allowHTTP && !isLoopback(u.Hostname()):
		return nil, errors.New("must be https, for plain http would show the credential on the way (LETHE_ALLOW_HTTP=true allows it)")
	}
	return u, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ReadJSON reads a body that must be one JSON value without repeated names and
// with valid UTF-8 (RFC 7493). Members that v does not have are passed over:
// APIs grow.
func ReadJSON(r Response, v any) error {
	if !r.JSON {
		return errors.New("the answer is not JSON")
	}
	if err := json.Unmarshal(r.Body, v); err != nil {
		return errors.New("the answer is not the documented JSON")
	}
	return nil
}
