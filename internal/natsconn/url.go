package natsconn

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ParseURLs reads a comma-separated list of server URLs like nats.go. The scheme is nats, tls, ws or wss, or missing.
// The error is one line without any part of the list, because that may contain a password.
func ParseURLs(list string) ([]*url.URL, error) {
	var urls []*url.URL
	for i, raw := range strings.Split(list, ",") {
		raw = strings.TrimSpace(raw)
		if !strings.Contains(raw, "://") {
			if i > 0 && strings.Contains(raw, "@") {
				// In "user:pa,ss@host", half of the password would be the host of a server.
				return nil, errors.New("has a comma before an @: write it as %2C, or write each server with its scheme")
			}
			raw = "nats://" + raw // as nats.go does
		}
		u, err := parseURL(raw)
		if err != nil {
			return nil, err
		}
		urls = append(urls, u)
	}
	return urls, nil
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err == nil && u.Port() != "" {
		_, err = strconv.ParseUint(u.Port(), 10, 16)
	}
	switch {
	case err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		return nil, errors.New("must be a URL such as nats://nats.example.com:4222, or several separated by commas; " +
			"percent-encode special characters in a password")
	case strings.Contains(u.Path+u.RawQuery+u.Fragment, "@"):
		// Part of the password would be read as the host and shown.
		return nil, errors.New("has a /, ? or # before its @: write it as %2F, %3F or %23")
	case !strings.HasPrefix(u.Host, "[") && strings.Count(u.Host, ":") > 1:
		return nil, errors.New("must have an IPv6 address in brackets, such as nats://[::1]:4222")
	}
	return u, nil
}

// withoutUsers formats the URLs without their user parts, which contain a password or a token.
func withoutUsers(urls []*url.URL) string {
	shown := make([]string, len(urls))
	for i, u := range urls {
		shown[i] = u.Scheme + "://" + u.Host
	}
	return strings.Join(shown, ",")
}
