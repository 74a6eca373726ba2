package deleter

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

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
	u.Host = strings.TrimSuffix(u.Host, ":") // some servers know no host with an empty port
	return u, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
