package fakeapi

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Faults is the trouble of a whole API. The zero value is none. In JSON, durations are written as "250ms".
type Faults struct {
	// Latency is how long every call waits before it takes effect, and Jitter how much is added at random to that.
	Latency time.Duration `json:"latency,omitzero"`
	Jitter  time.Duration `json:"jitter,omitzero"`
	// Rate is how many calls a second are let through; those above are answered 429 with Retry-After. 0: all.
	Rate float64 `json:"rate,omitzero"`
	// Burst is how many may come at once. 0: as many as Rate allows in a second, at least 1.
	Burst int `json:"burst,omitzero"`
	// RateHeaders tells the rate, and what is left of it, in the headers RateLimit-Policy and RateLimit of every answer
	// (draft-ietf-httpapi-ratelimit-headers).
	RateHeaders bool `json:"rate_headers,omitzero"`
	// RetryAfter is the Retry-After header of every refusal and fault outside 2xx, written as it stands, whether it makes
	// sense or not. Empty: true seconds on a 429 that Rate caused, and no such header elsewhere.
	RetryAfter string `json:"retry_after,omitzero"`
	// Reject answers every call as if its credential were wrong: 401 or 403. 0: only those whose credential is.
	Reject int `json:"reject,omitzero"`
	// MaxIDs answers 413 to a k-v.ai call that names more ids. 0: no limit of its own.
	MaxIDs int `json:"max_ids,omitzero"`
	// Chances gives the share of deletion calls, 0 to 1, that meet each fault; the sum is at most 1. In a k-v.ai call the
	// fault falls on the first entry of the list.
	Chances map[Fault]float64 `json:"chances,omitzero"`
	// SlowFor is how long a body takes under [Slow]. 0: [DefaultSlowFor].
	SlowFor time.Duration `json:"slow_for,omitzero"`
}

// Validate returns the first rule that f breaks, naming the field as JSON does.
func (f Faults) Validate(api API) error {
	switch {
	case f.Latency < 0:
		return errors.New("latency must not be negative")
	case f.Jitter < 0:
		return errors.New("jitter must not be negative")
	case f.SlowFor < 0:
		return errors.New("slow_for must not be negative")
	case !(f.Rate >= 0) || math.IsInf(f.Rate, 0):
		return errors.New("rate must be a number of calls a second, 0 for no limit")
	case f.Burst < 0:
		return errors.New("burst must not be negative")
	case f.Reject != 0 && f.Reject != 401 && f.Reject != 403:
		return errors.New("reject must be 401, 403, or 0 for none")
	case f.MaxIDs < 0:
		return errors.New("max_ids must not be negative")
	case f.MaxIDs > 0 && api != KV:
		return errors.New("max_ids is for kv alone")
	}
	if err := checkRetryAfter(f.RetryAfter); err != nil {
		return err
	}
	sum := 0.0
	for _, name := range f.names() {
		chance := f.Chances[name]
		if _, err := name.check(api); err != nil {
			return fmt.Errorf("chances: %w", err)
		}
		if !isShare(chance) {
			return fmt.Errorf("chances: %s must be between 0 and 1", name)
		}
		sum += chance
	}
	if sum > 1+1e-9 { // ten chances of 0.1 are fine
		return errors.New("chances must not add up to more than 1")
	}
	return nil
}

// names returns the faults with a chance, in a fixed order: a draw must not depend on the order of a map.
func (f Faults) names() []Fault {
	names := make([]Fault, 0, len(f.Chances))
	for name := range f.Chances {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func checkRetryAfter(value string) error {
	for _, b := range []byte(value) {
		if b < ' ' || b > '~' {
			return errors.New("retry_after must be printable ASCII")
		}
	}
	if len(value) > 256 {
		return errors.New("retry_after must not be longer than 256 bytes")
	}
	return nil
}

// faultTable is Faults.Chances made ready for drawing.
type faultTable []struct {
	upTo  float64
	name  Fault
	fault fault
}

func newFaultTable(api API, f Faults) faultTable {
	var o faultTable
	sum := 0.0
	for _, name := range f.names() {
		parsed, err := name.check(api)
		if err != nil || f.Chances[name] == 0 {
			continue // Validate has seen to the error
		}
		sum += f.Chances[name]
		o = append(o, struct {
			upTo  float64
			name  Fault
			fault fault
		}{sum, name, parsed})
	}
	return o
}

// at returns the fault that a draw in [0,1) falls on.
func (o faultTable) at(draw float64) (Fault, fault) {
	for _, each := range o {
		if draw < each.upTo {
			return each.name, each.fault
		}
	}
	return None, fault{kind: None}
}
