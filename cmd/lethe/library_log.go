package main

import (
	"io"
	"log"
	"log/slog"

	"github.com/lethe-dev/lethe/deleter"
)

// libraryLog receives what libraries write to the log package. net/http logs unsolicited
// responses there, unchanged and of any length.
type libraryLog struct {
	log         *slog.Logger
	credentials []*deleter.Credential
}

// redirectLibraryLog redacts such messages and logs them with to. restore undoes it.
func redirectLibraryLog(to *slog.Logger, configs laneConfigs) (restore func()) {
	l := &libraryLog{log: to}
	for _, lane := range configs {
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
