package ledger

import (
	"strings"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
)

// HeaderCarrier reads and writes trace context in message headers, as
// [propagation.TextMapCarrier] asks. NATS compares header names by case; W3C writes its
// own in lower case, and some publishers do not.
type HeaderCarrier nats.Header

var _ propagation.TextMapCarrier = HeaderCarrier{}

// Get returns the first value of a header, in any case of its name, "" if there is none.
func (c HeaderCarrier) Get(key string) string {
	if v := c[key]; len(v) > 0 {
		return v[0]
	}
	for name, v := range c {
		if len(v) > 0 && strings.EqualFold(name, key) {
			return v[0]
		}
	}
	return ""
}

// Set replaces the values of a header.
func (c HeaderCarrier) Set(key, value string) { c[key] = []string{value} }

// Keys returns the names of all headers.
func (c HeaderCarrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for name := range c {
		keys = append(keys, name)
	}
	return keys
}
