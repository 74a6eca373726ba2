package ledger

import "github.com/nats-io/nats.go"

// headerWriter sets headers that have one value each. The values of a message share
// one allocation.
type headerWriter struct {
	nats.Header
	values []string
}

// Set replaces the values of a header.
func (w *headerWriter) Set(name, value string) {
	w.values = append(w.values, value)
	n := len(w.values)
	w.Header[name] = w.values[n-1 : n : n]
}
