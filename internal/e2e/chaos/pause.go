package chaos

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/e2e"
)

// Pause is a time in which a lane was paused: from the return of `lethe pause` to the
// start of `lethe resume`. No call may begin in between.
type Pause struct {
	Target   events.Target
	From, To time.Time
}

// callsEnd is how long `lethe pause` waits for calls in flight, if not its own 15 s.
const callsEnd = "25s"

// PauseLane pauses a lane with `lethe pause`, keeps it paused until during returns, and
// resumes it. Commands that fail because of other faults are repeated.
func (env *Environment) PauseLane(ctx context.Context, target events.Target, during func()) error {
	if err := env.command(ctx, "pause", string(target), "--reason", "chaos", "--timeout", callsEnd); err != nil {
		return err
	}
	p := Pause{Target: target, From: time.Now()}
	during()
	p.To = time.Now()
	env.pauses = append(env.pauses, p)
	return env.command(ctx, "resume", string(target))
}

// command runs a lethe command until it succeeds.
func (env *Environment) command(ctx context.Context, args ...string) error {
	var urls []string
	for _, s := range env.Servers {
		urls = append(urls, s.URL())
	}
	policy := backoff.WithMaxRetries(backoff.NewConstantBackOff(200*time.Millisecond), 50)
	return backoff.Retry(func() error {
		command := exec.CommandContext(ctx, env.Binaries[e2e.Lethe], args...)
		command.Env = []string{"LETHE_NATS_URL=" + strings.Join(urls, ",")}
		out, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("lethe %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}, backoff.WithContext(policy, ctx))
}
