package deleter

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/lethe-dev/lethe/internal/address"
)

// CheckBaseURL returns the URL of an API. It must be https, or plain http to this
// machine or with allowHTTP, and must contain scheme, host and path only. Its error
// says what the URL must be, and shows no part of it: it may contain a password.
func CheckBaseURL(raw string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || !validPort(u.Port()):
		return nil, errors.New("must be a URL such as https://api.example.com")
	case u.User != nil:
		return nil, errors.New("must not contain a user name or password")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return nil, errors.New("must not contain a query or fragment")
	case u.Scheme == "http" && !allowHTTP && !address.IsLoopback(u.Hostname()):
		return nil, errors.New("must be https: plain http shows the credential to others; LETHE_ALLOW_HTTP=true allows it")
	}
	u.Host = strings.TrimSuffix(u.Host, ":") // some servers refuse a Host header with an empty port
	return u, nil
}

// validPort accepts no port, and those of TCP.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}
