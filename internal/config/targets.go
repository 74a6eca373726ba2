package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/lethe-dev/lethe/events"
)

// Targets are the targets that a worker serves; none means all.
type Targets []events.Target

// Decode reads names separated by commas. envconfig calls it.
func (t *Targets) Decode(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		target := events.Target(strings.TrimSpace(name))
		if !target.Known() {
			return errors.New("must be one or more of " + targetNames())
		}
		*t = append(*t, target)
	}
	return nil
}

// Include reports whether a worker serves the target.
func (t Targets) Include(target events.Target) bool { return len(t) == 0 || slices.Contains(t, target) }

func targetNames() string {
	var names []string
	for _, target := range events.Targets() {
		names = append(names, string(target))
	}
	return strings.Join(names, ", ")
}
