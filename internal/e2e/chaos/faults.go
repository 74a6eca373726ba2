package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

// Faults counts what befell a world.
type Faults struct {
	WorkersKilled, WorkersStopped, ServersKilled, LeadersKilled, Isolated, Cuts, Joined int
}

// Kills are the processes that died of SIGKILL.
func (f Faults) Kills() int { return f.WorkersKilled + f.ServersKilled }

func (f Faults) String() string {
	text := fmt.Sprintf("%d kills (%d of workers, %d of servers), %d stops, %d cuts, %d joined and left",
		f.Kills(), f.WorkersKilled, f.ServersKilled, f.WorkersStopped, f.Cuts, f.Joined)
	if f.Isolated > 0 {
		text += fmt.Sprintf(", %d of the servers led the results, %d times one was cut off from the others", f.LeadersKilled, f.Isolated)
	}
	return text
}

// longStop is longer than a worker's lease, which is its time-out of 2 s and
// 5 s, the 5 s by which clocks may differ, and ackWait.
const longStop = 13 * time.Second

// trouble makes things go wrong in a world.
type trouble struct {
	*World
	random *rand.Rand
	faults Faults
	wake   map[*Worker]time.Time // stopped workers, and until when
}

// Trouble lets kills processes die, and other things happen, evenly spread over
// a time, at moments and in an order that the seed decides. It returns when all
// is well again: every worker and server runs, and all replicas are there.
func Trouble(ctx context.Context, w *World, seed uint64, kills int, over time.Duration) (Faults, error) {
	t := &trouble{World: w, random: rand.New(rand.NewPCG(seed, 2)), wake: map[*Worker]time.Time{}}
	steady := len(w.Workers)
	mean := over / time.Duration(max(kills, 1)) * 6 / 10 // six of ten events are kills
	for t.faults.Kills() < kills {
		if err := t.pause(ctx, time.Duration(t.random.ExpFloat64()*float64(mean))); err != nil {
			return t.faults, err
		}
		if err := t.event(ctx, steady); err != nil {
			return t.faults, err
		}
	}
	for worker := range t.wake {
		if err := worker.Signal(syscall.SIGCONT); err != nil {
			return t.faults, err
		}
	}
	_, err := again(ctx, t.together)
	return t.faults, err
}

// together fails unless each stream has a leader and all its replicas. A server
// that was cut off answers for the others for a moment more, with what it missed.
func (w *World) together(ctx context.Context) (struct{}, error) {
	for _, name := range []string{events.StreamRequests, events.StreamLater, events.StreamResults} {
		try, cancel := context.WithTimeout(ctx, 2*time.Second) // a request may be lost
		stream, err := w.js.Stream(try, name)
		cancel()
		if err != nil {
			return struct{}{}, err
		}
		cluster := stream.CachedInfo().Cluster
		if len(w.Servers) == 1 {
			continue
		}
		if cluster == nil || cluster.Leader == "" {
			return struct{}{}, fmt.Errorf("%s has no leader", name)
		}
		current := 0
		for _, replica := range cluster.Replicas {
			if replica.Current && !replica.Offline && replica.Active < 2*time.Second {
				current++
			}
		}
		if current != len(w.Servers)-1 {
			return struct{}{}, fmt.Errorf("%d replicas of %s are current", current, name)
		}
	}
	return struct{}{}, nil
}

func (t *trouble) event(ctx context.Context, steady int) error {
	worker := t.Workers[t.random.IntN(steady)]
	cluster := len(t.Servers) > 1
	switch kind := t.random.IntN(100); {
	case kind < 25, kind < 45 && !cluster:
		return t.killWorker(ctx, worker)
	case kind < 45, kind < 60 && !cluster:
		return t.killServer(ctx)
	case kind < 60:
		return t.isolate(ctx)
	case kind < 72:
		t.stop(worker)
	case kind < 82:
		t.faults.Cuts++
		for _, l := range worker.Links {
			l.Cut()
		}
	case kind < 92: // what is sent is stored, and nobody is told
		t.faults.Cuts++
		for _, l := range worker.Links {
			l.Mute()
		}
		err := t.pause(ctx, time.Duration(t.random.IntN(60))*time.Millisecond)
		for _, l := range worker.Links {
			l.Cut()
		}
		return err
	default:
		return t.join(steady)
	}
	return nil
}

func (t *trouble) killWorker(ctx context.Context, w *Worker) error {
	w.Kill()
	delete(t.wake, w)
	t.faults.WorkersKilled++
	if err := t.pause(ctx, time.Duration(t.random.IntN(200))*time.Millisecond); err != nil {
		return err
	}
	return w.Start()
}

func (t *trouble) killServer(ctx context.Context) error {
	s := t.Servers[t.random.IntN(len(t.Servers))]
	if leader := t.leader(ctx); leader != nil {
		s = leader
		t.faults.LeadersKilled++
	}
	s.Kill()
	t.faults.ServersKilled++
	if err := t.pause(ctx, time.Duration(t.random.IntN(500))*time.Millisecond); err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return e2e.Listening(ctx, s.Address)
}

// leader is the server that leads the results stream, nil if none is known to.
func (t *trouble) leader(ctx context.Context) *e2e.NATS {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stream, err := t.js.Stream(ctx, events.StreamResults)
	if err != nil || stream.CachedInfo().Cluster == nil {
		return nil
	}
	for _, s := range t.Servers {
		if s.Name == stream.CachedInfo().Cluster.Leader {
			return s
		}
	}
	return nil
}

// isolate cuts a server off from the others for a while: long enough that it
// finds out and they choose another leader.
func (t *trouble) isolate(ctx context.Context) error {
	s := t.Servers[t.random.IntN(len(t.Servers))]
	if leader := t.leader(ctx); leader != nil {
		s = leader
	}
	t.faults.Isolated++
	for _, r := range s.Routes {
		r.Shut(true)
	}
	err := t.pause(ctx, 3*time.Second+time.Duration(t.random.IntN(int(4*time.Second))))
	for _, r := range s.Routes {
		r.Shut(false)
	}
	return err
}

// stop lets a worker stand still: for a moment, or longer than its lease. This imitates a
// suspended machine only in part: the clocks run on while the process stands still, and on a
// suspended machine the monotonic clock stops too.
func (t *trouble) stop(w *Worker) {
	if _, stopped := t.wake[w]; stopped {
		return
	}
	for other := range t.wake {
		if other != w && t.random.IntN(4) > 0 {
			return // mostly somebody goes on
		}
	}
	length := time.Duration(t.random.IntN(int(2 * time.Second)))
	if t.random.IntN(2) == 0 {
		length = longStop + time.Duration(t.random.IntN(int(3*time.Second)))
	}
	t.faults.WorkersStopped++
	_ = w.Signal(syscall.SIGSTOP)
	t.wake[w] = time.Now().Add(length)
}

// join lets another worker come, or the one that came leave.
func (t *trouble) join(steady int) error {
	if len(t.Workers) == steady {
		t.faults.Joined++
		_, err := t.NewWorker(e2e.Lethe)
		return err
	}
	guest := t.Workers[steady]
	if guest.Running() {
		return guest.Signal(syscall.SIGTERM)
	}
	t.faults.Joined++
	return guest.Start()
}

// pause lets time pass, and wakes whoever has stood still for long enough.
func (t *trouble) pause(ctx context.Context, d time.Duration) error {
	until := time.Now().Add(d)
	for {
		next := until
		for w, at := range t.wake {
			if !time.Now().Before(at) {
				delete(t.wake, w)
				if err := w.Signal(syscall.SIGCONT); err != nil {
					return err
				}
			} else if at.Before(next) {
				next = at
			}
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		if !time.Now().Before(until) {
			return nil
		}
	}
}
