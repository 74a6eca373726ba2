package fakeapi

// callLog keeps the newest calls in order.
type callLog struct {
	last  uint64 // number of the newest call
	max   int
	calls []Call // a ring when it is full
	next  int    // oldest call of the ring
}

func newCallLog(size int) callLog { return callLog{max: size} }

func (l *callLog) add(c Call) {
	l.last = c.Number
	if len(l.calls) < l.max {
		l.calls = append(l.calls, c)
		return
	}
	l.calls[l.next] = c
	l.next = (l.next + 1) % l.max
}

// list returns a copy, oldest first.
func (l *callLog) list() []Call {
	list := make([]Call, 0, len(l.calls))
	list = append(list, l.calls[l.next:]...)
	return append(list, l.calls[:l.next]...)
}

func (l *callLog) clear() { l.calls, l.next = nil, 0 }
