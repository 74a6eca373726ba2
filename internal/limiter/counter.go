package limiter

import "time"

// counter counts calls by the time at which they began, over the last two seconds.
// It takes the same little memory at any rate.
type counter struct {
	periods [256]struct {
		number int64 // of the period since 1970
		calls  int
	}
}

// period is the resolution of a counter.
const period = 8 * time.Millisecond

func (c *counter) add(begun time.Time) {
	number := begun.UnixNano() / int64(period)
	p := &c.periods[number%int64(len(c.periods))]
	if p.number != number {
		p.number, p.calls = number, 0
	}
	p.calls++
}

// lastSecond counts the calls of the second before a time.
func (c *counter) lastSecond(before time.Time) (calls int) {
	last := before.UnixNano() / int64(period)
	for number := last - int64(time.Second/period) + 1; number <= last; number++ {
		if p := c.periods[number%int64(len(c.periods))]; p.number == number {
			calls += p.calls
		}
	}
	return calls
}
