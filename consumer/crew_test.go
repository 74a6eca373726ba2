package consumer

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestACrewIsAsManyAsThereWereDeliveriesAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		var at, done atomic.Int32
		c := newCrew(func(*delivery) {
			at.Add(1)
			<-proceed
			at.Add(-1)
			done.Add(1)
		})
		for round := range 3 {
			for given := range 5 {
				c.give(&delivery{})
				synctest.Wait()
				if at.Load() != int32(given)+1 {
					t.Fatalf("%d in process after %d were given", at.Load(), given+1)
				}
			}
			for range 5 {
				proceed <- struct{}{}
			}
			synctest.Wait()
			if c.hands != 5 || done.Load() != int32(round+1)*5 {
				t.Errorf("%d are done by %d goroutines", done.Load(), c.hands)
			}
		}
		c.finish()
	})
}
