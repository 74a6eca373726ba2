package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/text"
)

// usage is an error in a flag, an argument or a setting.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

// usageError returns an error that makes the command exit with status 2.
func usageError(format string, args ...any) error { return usage{fmt.Errorf(format, args...)} }

// silentError makes the command exit with status 1 without a message, because its
// output has already named the failure.
type silentError struct{}

func (silentError) Error() string { return "failed" }

// exitStatus is 2 for errors that a person must fix before the next try, else 1.
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

// oneLine returns an error as a single line that is safe to print on a terminal: parts
// of it may come from a file or from the network. Joined errors are separated by "; ".
func oneLine(err error) string {
	var parts []string
	for line := range strings.Lines(text.Error(err)) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			parts = append(parts, line)
		}
	}
	return printable(strings.Join(parts, "; "))
}
