package consumer

import (
	"log/slog"
	"slices"
	"strings"
	"time"
)

const (
	// announceEvery is how often a lane checks whether its state has changed.
	announceEvery = time.Second
	// announceGap is the shortest time between two lines about the same problem of a
	// lane.
	announceGap = time.Minute
)

// announcer logs the changes of a lane's state: a problem that no line has named for a
// minute at once, any other change at most once a minute. So a state that comes and goes
// is one line a minute, with the number of changes that have no line.
type announcer struct {
	log     *slog.Logger
	current []Code             // the problems that were seen last
	at      time.Time          // of the last line
	named   map[Code]time.Time // of the last line about each problem
	changes int                // since the last line
}

// observe takes the current state, and logs it if a line is due.
func (a *announcer) observe(s State, now time.Time) {
	var codes []Code
	for _, p := range s.Problems() {
		if !slices.Contains(codes, p.Code) {
			codes = append(codes, p.Code)
		}
	}
	if !slices.Equal(codes, a.current) {
		a.changes++
	}
	a.current = codes
	unnamed := slices.ContainsFunc(codes, func(c Code) bool { return now.Sub(a.named[c]) >= announceGap })
	if a.changes == 0 || !unnamed && !a.at.IsZero() && now.Sub(a.at) < announceGap {
		return
	}
	attrs := []any{slog.String("state", string(s.Status))}
	if s.Reason != "" {
		attrs = append(attrs, slog.String("reason", s.Reason), slog.Time("since", s.Since), slog.String("fix", s.Fix))
	}
	if !s.NextCall.IsZero() {
		attrs = append(attrs, slog.Time("next_call", s.NextCall))
	}
	if len(s.Further) > 0 {
		further := make([]string, len(s.Further))
		for i, p := range s.Further {
			further[i] = p.Reason + "; fix: " + p.Fix
		}
		attrs = append(attrs, slog.String("further_problems", strings.Join(further, "; and ")))
	}
	if more := a.changes - 1; more > 0 {
		attrs = append(attrs, slog.Int("changes_not_logged", more))
	}
	message := "lane is " + string(s.Status)
	switch {
	case s.Status == StatusRunning && len(s.Further) == 0:
		message = "lane is running again"
	case len(s.Further) > 0:
		message += ", with further problems"
	}
	a.log.Info(message, attrs...)
	a.at, a.changes = now, 0
	if a.named == nil {
		a.named = map[Code]time.Time{}
	}
	for _, c := range codes {
		a.named[c] = now
	}
}
