package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
	"github.com/lethe-dev/lethe/internal/streams"
)

// Faults counts the injected faults.
type Faults struct {
	WorkersKilled, WorkersStopped, ServersKilled, LeadersKilled, Isolated, Cuts, Joined int
}

// Kills is the number of processes killed with SIGKILL.
func (f Faults) Kills() int { return f.WorkersKilled + f.ServersKilled }

func (f Faults) String() string {
	text := fmt.Sprintf("%d kills (%d workers, %d servers), %d stops, %d cuts, %d extra workers",
		f.Kills(), f.WorkersKilled, f.ServersKilled, f.WorkersStopped, f.Cuts, f.Joined)
	if f.Isolated > 0 {
		text += fmt.Sprintf(", %d of the killed servers led the results stream, %d isolations of a server", f.LeadersKilled, f.Isolated)
	}
	return text
}

// longStop is longer than a worker's lease (its time-out of 2 s plus 5 s), plus 5 s
// of clock skew, and longer than ackWait.
const longStop = 13 * time.Second

// injector injects faults into an environment.
type injector struct {
	*Environment
	random  *rand.Rand
	faults  Faults
	stopped map[*Worker]time.Time // when to resume each stopped worker
}

// InjectFaults kills the given number of processes and injects other faults, spread
// over a time, at times and in an order that the seed decides. It returns when every
// worker and server runs again and all replicas are current.
func InjectFaults(ctx context.Context, env *Environment, seed uint64, kills int, over time.Duration) (Faults, error) {
	in := &injector{Environment: env, random: rand.New(rand.NewPCG(seed, 2)), stopped: map[*Worker]time.Time{}}
	steady := len(env.Workers)
	mean := over / time.Duration(max(kills, 1)) * 6 / 10 // between faults, of which six in ten are kills
	for in.faults.Kills() < kills {
		if err := in.pause(ctx, time.Duration(in.random.ExpFloat64()*float64(mean))); err != nil {
			return in.faults, err
		}
		if err := in.fault(ctx, steady); err != nil {
			return in.faults, err
		}
	}
	for worker := range in.stopped {
		if err := worker.Signal(syscall.SIGCONT); err != nil {
			return in.faults, err
		}
	}
	_, err := retry(ctx, in.replicasCurrent)
	return in.faults, err
}

// replicasCurrent fails unless each stream has a leader and all its replicas are
// current. A server that was isolated reports old values for a moment.
func (env *Environment) replicasCurrent(ctx context.Context) (struct{}, error) {
	for _, name := range []string{events.StreamRequests, events.StreamLater, events.StreamResults, streams.Control} {
		try, cancel := context.WithTimeout(ctx, 2*time.Second) // a request can get lost
		stream, err := env.js.Stream(try, name)
		cancel()
		if err != nil {
			return struct{}{}, err
		}
		cluster := stream.CachedInfo().Cluster
		if len(env.Servers) == 1 {
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
		if current != len(env.Servers)-1 {
			return struct{}{}, fmt.Errorf("%d replicas of %s are current", current, name)
		}
	}
	return struct{}{}, nil
}

// fault injects one fault into one of the first steady workers, or into a server.
func (in *injector) fault(ctx context.Context, steady int) error {
	worker := in.Workers[in.random.IntN(steady)]
	cluster := len(in.Servers) > 1
	switch kind := in.random.IntN(100); {
	case kind < 25, kind < 45 && !cluster:
		return in.killWorker(ctx, worker)
	case kind < 45, kind < 60 && !cluster:
		return in.killServer(ctx)
	case kind < 60:
		return in.isolate(ctx)
	case kind < 72:
		in.stop(worker)
	case kind < 82:
		in.faults.Cuts++
		for _, p := range worker.Proxies {
			p.Cut()
		}
	case kind < 92: // publishes are stored, acknowledgements are lost
		in.faults.Cuts++
		for _, p := range worker.Proxies {
			p.DropReplies()
		}
		err := in.pause(ctx, time.Duration(in.random.IntN(60))*time.Millisecond)
		for _, p := range worker.Proxies {
			p.Cut()
		}
		return err
	default:
		return in.join(steady)
	}
	return nil
}

func (in *injector) killWorker(ctx context.Context, w *Worker) error {
	w.Kill()
	delete(in.stopped, w)
	in.faults.WorkersKilled++
	if err := in.pause(ctx, time.Duration(in.random.IntN(200))*time.Millisecond); err != nil {
		return err
	}
	return w.Start()
}

func (in *injector) killServer(ctx context.Context) error {
	s := in.Servers[in.random.IntN(len(in.Servers))]
	if leader := in.leader(ctx); leader != nil {
		s = leader
		in.faults.LeadersKilled++
	}
	s.Kill()
	in.faults.ServersKilled++
	if err := in.pause(ctx, time.Duration(in.random.IntN(500))*time.Millisecond); err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return e2e.WaitListening(ctx, s.Address)
}

// leader is the server that leads the results stream, nil if unknown.
func (in *injector) leader(ctx context.Context) *e2e.NATS {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stream, err := in.js.Stream(ctx, events.StreamResults)
	if err != nil || stream.CachedInfo().Cluster == nil {
		return nil
	}
	for _, s := range in.Servers {
		if s.Name == stream.CachedInfo().Cluster.Leader {
			return s
		}
	}
	return nil
}

// isolate disconnects a server from the others for so long that they elect another leader.
func (in *injector) isolate(ctx context.Context) error {
	s := in.Servers[in.random.IntN(len(in.Servers))]
	if leader := in.leader(ctx); leader != nil {
		s = leader
	}
	in.faults.Isolated++
	for _, r := range s.Routes {
		r.SetBlocked(true)
	}
	err := in.pause(ctx, 3*time.Second+time.Duration(in.random.IntN(int(4*time.Second))))
	for _, r := range s.Routes {
		r.SetBlocked(false)
	}
	return err
}

// stop stops a worker with SIGSTOP, briefly or for longer than its lease. Unlike on a
// suspended machine, the monotonic clock keeps running.
func (in *injector) stop(w *Worker) {
	if _, stopped := in.stopped[w]; stopped {
		return
	}
	for other := range in.stopped {
		if other != w && in.random.IntN(4) > 0 {
			return // keep the other workers running in most cases
		}
	}
	duration := time.Duration(in.random.IntN(int(2 * time.Second)))
	if in.random.IntN(2) == 0 {
		duration = longStop + time.Duration(in.random.IntN(int(3*time.Second)))
	}
	in.faults.WorkersStopped++
	_ = w.Signal(syscall.SIGSTOP)
	in.stopped[w] = time.Now().Add(duration)
}

// join starts the extra worker, or ends it if it is running.
func (in *injector) join(steady int) error {
	if len(in.Workers) == steady {
		in.faults.Joined++
		_, err := in.NewWorker(e2e.Lethe)
		return err
	}
	extra := in.Workers[steady]
	if extra.Running() {
		return extra.Signal(syscall.SIGTERM)
	}
	in.faults.Joined++
	return extra.Start()
}

// pause waits, and resumes stopped workers at their times.
func (in *injector) pause(ctx context.Context, d time.Duration) error {
	until := time.Now().Add(d)
	for {
		next := until
		for w, at := range in.stopped {
			if !time.Now().Before(at) {
				delete(in.stopped, w)
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
