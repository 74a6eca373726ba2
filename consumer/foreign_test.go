package consumer

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

// publishForeign publishes a message that no worker wrote.
func (env *environment) publishForeign(subject, body string, header nats.Header) {
	env.Helper()
	if _, err := env.js.PublishMsg(context.Background(), &nats.Msg{Subject: subject, Data: []byte(body), Header: header}); err != nil {
		env.Fatal(err)
	}
}

// publishUnreadable publishes a message with headers that cannot be read.
func (env *environment) publishUnreadable(subject string) {
	env.Helper()
	conn, err := net.Dial("tcp", env.server.Addr().String())
	if err != nil {
		env.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	const header = "NATS/1.0\r\nno header\r\n\r\n"
	fmt.Fprintf(conn, "CONNECT {\"headers\":true}\r\nHPUB %s %d %d\r\n%s{}\r\nPING\r\n", subject, len(header), len(header)+2, header)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if lines.Text() == "PONG" {
			return
		}
	}
	env.Fatal("the server did not accept the message")
}

// readableResults returns the messages that are results, oldest first.
func (env *environment) readableResults() (all []events.Result) {
	env.Helper()
	for seq := uint64(1); ; seq++ {
		m, err := streams.NextMessage(context.Background(), env.js, events.StreamResults, "deletions.results.>", seq)
		if err != nil {
			env.Fatal(err)
		}
		if m == nil {
			return all
		}
		seq = m.Seq
		if r, err := events.ReadResult(m.Header, m.Data); err == nil {
			all = append(all, r)
		}
	}
}

// forgedHeaders returns headers that a record may have.
func forgedHeaders() nats.Header {
	h := nats.Header{"Lethe-Link": {ledger.NewID()}, "Lethe-Fingerprint": {"f"}, "Lethe-Instance": {"w"}, "Lethe-Lease": {"1h"}}
	ledger.Progress{Attempts: 1, RequestSeq: 1}.Write(h)
	return h
}

// publishAllForeign publishes every kind of foreign message on a request's subjects.
func (env *environment) publishAllForeign(r events.Request) {
	env.Helper()
	deleted := events.ResultSubject(r.Target(), r.ID, events.Deleted)
	env.publishForeign(deleted, "{}", nil)
	env.publishForeign(events.ResultSubject(r.Target(), r.ID, events.Failed), "", nil)
	env.publishForeign(deleted, "{}", forgedHeaders())
	env.publishForeign(events.AttemptSubject(r.Target(), r.ID, 1), "{}", forgedHeaders())
	env.publishForeign("deletions.results."+string(r.Target())+"."+r.ID+".no-outcome", "{}", forgedHeaders())
	env.publishForeign("deletions.attempts."+string(r.Target())+"."+r.ID+".deleted", "{}", forgedHeaders())
	env.publishUnreadable(deleted)
}

// Foreign messages delay no request, wherever they are among its records.
func TestForeignMessagesAreSkipped(t *testing.T) {
	t.Parallel()
	for _, target := range events.Targets() {
		t.Run(string(target), func(t *testing.T) {
			env := newEnvironment(t)
			first, second := entry(7), entry(8)
			if target == kvTarget {
				first, second = contexts(7), contexts(8)
			}
			answers := []deleter.Answer{answerBusy, answerPending, answerLost, answerNotFound}
			calls := &fakeAPI{}
			calls.answer = func(n int, res events.Resource) deleter.Answer {
				if fmt.Sprint(res) != fmt.Sprint(first.Resource) {
					return answerDeleted
				}
				env.publishAllForeign(first)
				return answers[min(n, len(answers))-1]
			}
			var log lockedBuffer
			config := env.config(target, calls)
			config.Log = slog.New(slog.NewJSONHandler(&log, nil))
			env.publishAllForeign(first)
			env.run(config)
			env.publish(first)
			var got events.Result
			env.until("a final result", func() bool {
				if all := env.readableResults(); len(all) > 0 {
					got = all[len(all)-1]
				}
				return got.Outcome.Final()
			})
			if got.Outcome != events.Deleted || got.Attempts != 4 {
				t.Errorf("%s after %d attempts", got.Outcome, got.Attempts)
			}
			env.publishAllForeign(first)
			env.publish(first, second) // the first has its result already
			env.settled()
			if n := calls.count(); n != 5 {
				t.Errorf("%d calls", n)
			}
			var outcomes []string
			for _, r := range env.readableResults() {
				outcomes = append(outcomes, r.RequestID+" "+string(r.Outcome))
			}
			if want := []string{first.ID + " accepted-pending", first.ID + " deleted", second.ID + " deleted"}; !slices.Equal(outcomes, want) {
				t.Errorf("results %v, want %v", outcomes, want)
			}
			if n := strings.Count(log.String(), events.ResultSubject(target, first.ID, events.Failed)); n != 1 {
				t.Errorf("%d lines about one subject", n)
			}
		})
	}
}

// A due message without a worker's headers is not a step of a request.
func TestADueForeignMessageIsDropped(t *testing.T) {
	env := newEnvironment(t)
	calls := answering(answerDeleted)
	r := entry(7)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	env.publishForeign(events.DueSubject(sensayTarget), string(body), nil)
	env.publishForeign(events.DueSubject(sensayTarget), "{}", nats.Header{"Lethe-Attempt": {"1"}})
	env.run(env.config(sensayTarget, calls))
	env.settled()
	if n := len(env.messages(events.StreamResults, ">")); n != 0 || calls.count() != 0 {
		t.Errorf("%d records, %d calls", n, calls.count())
	}
}

// lockedBuffer is a buffer that a lane may write to while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
