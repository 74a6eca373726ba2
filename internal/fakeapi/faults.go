package fakeapi

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Faults are the faults of a whole API. The zero value has none. In JSON, durations have the form "250ms".
type Faults struct {
	// Latency is the wait of every call before it takes effect. Jitter is the most that is added at random.
	Latency time.Duration `json:"latency,omitzero"`
	Jitter  time.Duration `json:"jitter,omitzero"`
	// Rate is the limit in calls a second; calls above it get 429 with Retry-After. 0: no limit.
	Rate float64 `json:"rate,omitzero"`
	// Burst is the limiter's burst in calls. 0: Rate, at least 1.
	Burst int `json:"burst,omitzero"`
	// RateHeaders adds the headers RateLimit-Policy and RateLimit to every answer
	// (draft-ietf-httpapi-ratelimit-headers).
	RateHeaders bool `json:"rate_headers,omitzero"`
	// RetryAfter is the Retry-After header of every answer outside 2xx, sent unchanged, valid or not. Empty: correct
	// seconds on a 429 that Rate caused, and no header elsewhere.
	RetryAfter string `json:"retry_after,omitzero"`
	// Reject is the status, 401 or 403, of every call whatever its credential. 0: correct credentials are accepted.
	Reject int `json:"reject,omitzero"`
	// MaxIDs is the most ids in a k-v.ai call; more get 413. 0: no such limit.
	MaxIDs int `json:"max_ids,omitzero"`
	// Chances is the share of deletion calls, 0 to 1, that get each fault; the sum is at most 1. In a k-v.ai call it is
	// the first entry's fault.
	Chances map[Fault]float64 `json:"chances,omitzero"`
	// SlowFor is the duration of a body with [Slow]. 0: [DefaultSlowFor].
	SlowFor time.Duration `json:"slow_for,omitzero"`
}

// Validate returns an error with the JSON name of the first invalid field.
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
	case f.MaxIDs > 0 && !api.definition().batches:
		return fmt.Errorf("max_ids is not for %s, whose calls name one entry", api)
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

// names returns the faults with a chance in a fixed order, because a draw must not depend on map order.
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

// faultTable is Faults.Chances as cumulative shares.
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
			continue // Validate has reported the error
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

// pick returns the fault for a random number in [0,1).
func (o faultTable) pick(draw float64) (Fault, fault) {
	for _, each := range o {
		if draw < each.upTo {
			return each.name, each.fault
		}
	}
	return None, fault{kind: None}
}
