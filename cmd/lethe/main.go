// Lethe deletes what upstream systems ask to have deleted, and proves it.
//
// This package parses flags, wires the parts together and prints. Each file has
// one command; wire.go assembles the worker, and apis.go has the table of APIs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// The exit statuses of every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	uuid.EnableRandPool() // a worker makes four ids for each request
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal starts a graceful shutdown. After it, a second signal has its
	// default effect: it kills the process.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:]))
}

// execute runs one command line and returns its exit status.
func execute(ctx context.Context, args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if _, ok := errors.AsType[silentError](err); !ok {
		fmt.Fprintln(root.ErrOrStderr(), "lethe:", oneLine(err))
	}
	return exitStatus(err)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "lethe",
		Short: "Deletes what upstream systems ask to have deleted, and proves it",
		Long: `Lethe reads deletion requests from NATS JetStream, calls the right API with
exponential backoff, and publishes the outcome of each request: deleted,
accepted-pending, not-found, invalid or failed.

Try it:          lethe demo
Run the worker:  lethe run          (settings: lethe run --help)
Send a request:  lethe request kv-user-context --id 10 --wait`,
		Version:           buildVersion(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.NoArgs,
		PersistentPreRunE: checkGiven,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%v (see %s --help)", flagError(err), cmd.CommandPath())
	})
	root.AddCommand(newVersionCommand())
	addGroup(root, "Set up and try:", newDemoCommand(), newSandboxCommand(), newSetupCommand())
	addGroup(root, "Run:", newRunCommand(), newHealthcheckCommand())
	addGroup(root, "Request and read:", clients(newRequestCommand(), newResultsCommand(), newShowCommand())...)
	addGroup(root, "Operate:", clients(newStatusCommand(), newFailedCommand(), newPauseCommand(), newResumeCommand())...)
	argumentsAreUsage(root)
	fitFlags(root)
	return root
}

// addGroup adds commands that the help lists under a heading.
func addGroup(root *cobra.Command, heading string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: heading, Title: heading})
	for _, c := range commands {
		c.GroupID = heading
		root.AddCommand(c)
	}
}

// clients makes the help of commands, and of their subcommands, say which server they use.
func clients(commands ...*cobra.Command) []*cobra.Command {
	for _, c := range commands {
		c.SetUsageTemplate(c.UsageTemplate() + `
NATS:
  LETHE_NATS_URL and the other settings of NATS in "lethe run --help". Without
  LETHE_NATS_URL it is the embedded server of a worker on this machine.
`)
	}
	return commands
}

// columns is the width of the terminal for which help texts are made.
const columns = 80

// fitFlags makes the descriptions of flags fit into the columns, for c and its subcommands.
func fitFlags(c *cobra.Command) {
	c.SetUsageTemplate(strings.ReplaceAll(c.UsageTemplate(), ".FlagUsages ", fmt.Sprintf(".FlagUsagesWrapped %d ", columns)))
	for _, sub := range c.Commands() {
		fitFlags(sub)
	}
}

// argumentsAreUsage makes a wrong number of arguments a usage error, for c and its
// subcommands.
func argumentsAreUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError("%v (see %s --help)", err, cmd.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		argumentsAreUsage(sub)
	}
}
