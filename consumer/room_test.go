package consumer

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestRoomIsLeftAndTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop, end := context.WithCancel(t.Context())
		r := newRoom(4)
		reserved := make(chan bool)
		reserve := func(n int) {
			go func() { reserved <- r.reserve(stop, n) }()
			synctest.Wait()
		}
		waits := func(what string) {
			t.Helper()
			synctest.Wait()
			select {
			case <-reserved:
				t.Errorf("there is room %s", what)
			default:
			}
		}

		reserve(3)
		if !<-reserved {
			t.Fatal("there is no room in an empty one")
		}
		reserve(2)
		waits("for 5 of 4")
		r.leave(1)
		if !<-reserved {
			t.Fatal("there is no room for 4 of 4")
		}
		r.leave(2)
		r.comeBack()
		r.comeBack()
		r.comeBack() // 5 of 4
		reserve(1)
		r.leave(1)
		waits("for another in a full one")
		r.leave(1)
		if !<-reserved {
			t.Fatal("there is no room for 4 of 4")
		}
		reserve(1)
		end()
		if <-reserved {
			t.Error("there is room after the end")
		}
	})
}
