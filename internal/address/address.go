// Package address classifies host addresses.
package address

import (
	"net"
	"strings"
)

// IsLoopback reports whether host, a name or an IP address without brackets and
// port, is a loopback address. It does not resolve names; localhost is the only name
// that it recognizes.
func IsLoopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}
