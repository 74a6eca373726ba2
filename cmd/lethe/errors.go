package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/text"
)

// usage is an error of the caller's: a wrong flag, argument or setting.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

// usageError is an error that ends the command with status 2.
func usageError(format string, args ...any) error { return usage{fmt.Errorf(format, args...)} }

// silentError ends the command with status 1 and nothing on stderr, for
// commands whose output has already said what failed.
type silentError struct{}

func (silentError) Error() string { return "failed" }

// exitStatus tells what a person must put right before trying again (2) from
// what went wrong on the way (1).
func exitStatus(err error) int {
	var u usage
	if errors.As(err, &u) || strings.HasPrefix(err.Error(), "unknown command") {
		return exitUsage
	}
	for _, setting := range []error{
		natsconn.ErrSettings, natsconn.ErrRefused, natsconn.ErrTLS,
		natsconn.ErrServerTooOld, natsconn.ErrNoJetStream, natsconn.ErrLocked, natsconn.ErrAddrInUse, natsconn.ErrTwoDomains,
	} {
		if errors.Is(err, setting) {
			return exitUsage
		}
	}
	return exitFailed
}

// oneLine folds an error into a single line that is safe for a terminal: parts of it
// may come from a file or from the network.
func oneLine(err error) string {
	return printable(strings.Join(strings.Fields(text.Error(err)), " "))
}
