package main

import (
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/lethe-dev/lethe/deleter"
)

// libraryLog takes what libraries say through Go's old log package. net/http
// does so with what a server sent unasked, word for word: it may be anything,
// and as long as it likes.
type libraryLog struct {
	log         *slog.Logger
	credentials []*deleter.Credential
}

// maxLibraryLine is the most of one message that is logged, in bytes.
const maxLibraryLine = 512

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
	text := string(p)
	for _, c := range l.credentials {
		text = c.Redact(text)
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxLibraryLine {
		text = strings.ToValidUTF8(text[:maxLibraryLine], "") + "…"
	}
	l.log.Info("a library says", "what", text)
	return len(p), nil
}
