package natsconn

import (
	"fmt"
	"log/slog"
	"sync"
)

// serverLog logs the embedded server's warnings and errors, and stores the error of a failed start, which the server
// only logs.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	cause error
}

func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Fatalf stores the error among its arguments, or else the text.
func (l *serverLog) Fatalf(format string, v ...any) {
	cause := fmt.Errorf(format, v...)
	for _, arg := range v {
		if err, ok := arg.(error); ok {
			cause = err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cause = cause
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error("embedded NATS server: " + fmt.Sprintf(format, v...))
}

func (l *serverLog) Warnf(format string, v ...any) {
	l.log.Warn("embedded NATS server: " + fmt.Sprintf(format, v...))
}

func (l *serverLog) Noticef(string, ...any) {}
func (l *serverLog) Debugf(string, ...any)  {}
func (l *serverLog) Tracef(string, ...any)  {}
