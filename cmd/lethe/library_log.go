package main

import (
	"io"
	"log"
	"log/slog"

	"github.com/lethe-dev/lethe/deleter"
)

// libraryLog takes what libraries write to Go's old log package. net/http writes
// there what a server sent unasked, word for word: it may be anything, of any
// length.
type libraryLog struct {
	log         *slog.Logger
	credentials []*deleter.Credential
}

// takeLibraryLog has all such messages redacted and logged by log. It returns
// how to put things back.
func takeLibraryLog(to *slog.Logger, lanes laneConfigs) (restore func()) {
	l := &libraryLog{log: to}
	for _, lane := range lanes {
		if lane.credential != nil {
			l.credentials = append(l.credentials, lane.credential)
		}
	}
	writer, flags := log.Writer(), log.Flags()
	log.SetOutput(l)
	log.SetFlags(0)
	return func() { log.SetOutput(writer); log.SetFlags(flags) }
}

var _ io.Writer = (*libraryLog)(nil)

// Write logs one message.
func (l *libraryLog) Write(p []byte) (int, error) {
	l.log.Info("log from a library", "message", deleter.Line(string(p), l.credentials...))
	return len(p), nil
}
