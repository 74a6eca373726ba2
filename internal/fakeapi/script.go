package fakeapi

import (
	"errors"
	"fmt"
)

// Step is one part of an entry's script: the next calls to delete it, and how they are answered.
type Step struct {
	// Fault is what those calls meet; [None] for a true answer.
	Fault Fault `json:"fault"`
	// Times is how many calls the step lasts. 0: one. -1: for ever.
	Times int `json:"times,omitzero"`
	// RetryAfter is the Retry-After header of an answer outside 2xx, written as it stands. Empty: the one set for the
	// API, if any. [Refused] and [Partial] take no notice of it.
	RetryAfter string `json:"retry_after,omitzero"`
}

// maxSteps is the longest script.
const maxSteps = 1000

// plan is a Step in use.
type plan struct {
	Step
	fault fault
	left  int // -1: for ever
}

func newPlans(api API, steps []Step) ([]plan, error) {
	if len(steps) > maxSteps {
		return nil, fmt.Errorf("a script has at most %d steps", maxSteps)
	}
	plans := make([]plan, 0, len(steps))
	for i, step := range steps {
		parsed, err := step.Fault.check(api)
		if err == nil && step.Times < -1 {
			err = errors.New("times must be -1 or more")
		}
		if err == nil {
			err = checkRetryAfter(step.RetryAfter)
		}
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		left := step.Times
		if left == 0 {
			left = 1
		}
		plans = append(plans, plan{step, parsed, left})
	}
	return plans, nil
}

// scripts holds what is left of each entry's script.
type scripts map[key][]plan

// next uses up one call of the entry's script.
func (s scripts) next(k key) (plan, bool) {
	plans := s[k]
	if len(plans) == 0 {
		return plan{}, false
	}
	now := plans[0]
	if plans[0].left > 0 {
		plans[0].left--
	}
	if plans[0].left == 0 {
		plans = plans[1:]
	}
	if len(plans) == 0 {
		delete(s, k)
	} else {
		s[k] = plans
	}
	return now, true
}

// steps returns what is left, as it could be given again.
func (s scripts) steps(k key) []Step {
	steps := []Step{}
	for _, p := range s[k] {
		step := p.Step
		step.Times = p.left
		steps = append(steps, step)
	}
	return steps
}
