// Package address judges addresses of hosts.
package address

import (
	"net"
	"strings"
)

// IsLoopback reports whether host, a name or an IP address without brackets and
// port, is this machine by itself. Names are not looked up: of them it knows
// localhost alone.
func IsLoopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}
