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

// Pause is a period in which a lane was paused: from the return of `lethe pause` to the
// start of `lethe resume`. No call may begin in it.
type Pause struct {
	Target   events.Target
	From, To time.Time
}

// pauseTimeout is how long `lethe pause` waits for calls in flight. A command that takes longer
// than commandTimeout hangs, which is an error.
const pauseTimeout, commandTimeout = "25s", time.Minute

// PauseLane pauses a lane with `lethe pause`, keeps it paused until during returns, and
// resumes it. It retries commands that fail because of other faults.
func (env *Environment) PauseLane(ctx context.Context, target events.Target, during func()) error {
	if err := env.command(ctx, "pause", string(target), "--reason", "chaos", "--timeout", pauseTimeout); err != nil {
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
		limited, cancel := context.WithTimeout(ctx, commandTimeout)
		defer cancel()
		command := exec.CommandContext(limited, env.Binaries[e2e.Lethe], args...)
		command.Env = []string{"LETHE_NATS_URL=" + strings.Join(urls, ",")}
		out, err := command.CombinedOutput()
		if limited.Err() != nil {
			return backoff.Permanent(fmt.Errorf("lethe %s did not exit within %s: %s", strings.Join(args, " "), commandTimeout, out))
		}
		if err != nil {
			return fmt.Errorf("lethe %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}, backoff.WithContext(policy, ctx))
}
