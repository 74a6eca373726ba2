package fakeapi

import (
	"errors"
	"fmt"
)

// Step is one part of an entry's script: the answer to its next deletion calls.
type Step struct {
	// Fault is the fault of these calls; [None] is the correct answer.
	Fault Fault `json:"fault"`
	// Times is the number of calls. 0: one. -1: all.
	Times int `json:"times,omitzero"`
	// RetryAfter is the Retry-After header of an answer outside 2xx, sent unchanged. Empty: the API's, if any. [Refused]
	// and [Partial] ignore it.
	RetryAfter string `json:"retry_after,omitzero"`
}

// maxSteps is the most steps of a script.
const maxSteps = 1000

// stepState is a step and the calls left.
type stepState struct {
	Step
	fault fault
	left  int // calls; -1: all
}

func newSteps(api API, steps []Step) ([]stepState, error) {
	if len(steps) > maxSteps {
		return nil, fmt.Errorf("a script has at most %d steps", maxSteps)
	}
	states := make([]stepState, 0, len(steps))
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
		states = append(states, stepState{step, parsed, left})
	}
	return states, nil
}

// scripts contains the rest of each entry's script.
type scripts map[key][]stepState

// next takes one call from the entry's script.
func (s scripts) next(k key) (stepState, bool) {
	states := s[k]
	if len(states) == 0 {
		return stepState{}, false
	}
	now := states[0]
	if states[0].left > 0 {
		states[0].left--
	}
	if states[0].left == 0 {
		states = states[1:]
	}
	if len(states) == 0 {
		delete(s, k)
	} else {
		s[k] = states
	}
	return now, true
}

// steps returns the rest of the script.
func (s scripts) steps(k key) []Step {
	steps := []Step{}
	for _, p := range s[k] {
		step := p.Step
		step.Times = p.left
		steps = append(steps, step)
	}
	return steps
}
