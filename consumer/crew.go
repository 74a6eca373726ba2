package consumer

import "sync"

// crew is the goroutines of a lane that process deliveries, each one at a time. A
// goroutine that is done goes on with the next delivery, for a stack that has
// grown is worth keeping; so there are as many as deliveries were there at a time.
type crew struct {
	do func(*delivery)

	queue   chan *delivery
	running sync.WaitGroup

	mu      sync.Mutex
	hands   int // goroutines
	present int // deliveries that are not done
}

// newCrew returns a crew that processes with do.
func newCrew(do func(*delivery)) *crew { return &crew{do: do, queue: make(chan *delivery)} }

// give has a delivery processed at once.
func (c *crew) give(d *delivery) {
	c.mu.Lock()
	c.present++
	if c.present > c.hands {
		c.hands++
		c.running.Go(c.work)
	}
	c.mu.Unlock()
	c.queue <- d
}

func (c *crew) work() {
	for d := range c.queue {
		c.do(d)
		c.mu.Lock()
		c.present--
		c.mu.Unlock()
	}
}

// finish returns when all that was given is done. Nothing may be given after it.
func (c *crew) finish() {
	close(c.queue)
	c.running.Wait()
}
