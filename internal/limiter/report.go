package limiter

import (
	"log/slog"
	"time"
)

// report logs the learned rate for the operator: when the API throttles for the
// first time, and then at most once a minute, if the rate has halved or doubled.
type report struct {
	log  *slog.Logger
	last float64
	at   time.Time
}

const reportInterval = time.Minute

func (p *report) rate(now time.Time, r *rate) {
	if !r.learned || !p.at.IsZero() && now.Sub(p.at) < reportInterval {
		return
	}
	current := r.current()
	if !p.at.IsZero() && current > p.last/2 && current < p.last*2 {
		return
	}
	message := "API throttles calls; the lane finds the rate it allows"
	if !p.at.IsZero() {
		message = "learned rate changed"
	}
	p.log.Info(message, "calls_per_second", current)
	p.last, p.at = current, now
}
