package consumer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// foreign publishes a message that no worker wrote, and returns its sequence.
func (w *world) foreign(subject, body string, header nats.Header) uint64 {
	w.Helper()
	ack, err := w.js.PublishMsg(context.Background(), &nats.Msg{Subject: subject, Data: []byte(body), Header: header})
	if err != nil {
		w.Fatal(err)
	}
	return ack.Sequence
}

// unreadable publishes a message with headers that cannot be read.
func (w *world) unreadable(subject string) {
	w.Helper()
	conn, err := net.Dial("tcp", w.server.Addr().String())
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	const header = "NATS/1.0\r\nno header\r\n\r\n"
	fmt.Fprintf(conn, "CONNECT {\"headers\":true}\r\nHPUB %s %d %d\r\n%s{}\r\nPING\r\n", subject, len(header), len(header)+2, header)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if lines.Text() == "PONG" {
			return
		}
	}
	w.Fatal("the server did not take it")
}

// readable returns the results among all messages, oldest first.
func (w *world) readable() (all []events.Result) {
	w.Helper()
	for seq := uint64(1); ; seq++ {
		m, err := streams.NextMessage(context.Background(), w.js, events.StreamResults, "deletions.results.>", seq)
		if err != nil {
			w.Fatal(err)
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

// forged are the headers of a record that is none.
func forged() nats.Header {
	h := nats.Header{headerLink: {newID()}, headerFingerprint: {"f"}, headerInstance: {"w"}, headerLease: {"1h"}}
	History{Attempts: 1, Arrival: 1}.write(h)
	return h
}

// litter puts every kind of foreign message on a request's subjects.
func (w *world) litter(r events.Request) {
	w.Helper()
	deleted := events.ResultSubject(r.Target(), r.ID, events.Deleted)
	w.foreign(deleted, "{}", nil)
	w.foreign(events.ResultSubject(r.Target(), r.ID, events.Failed), "", nil)
	w.foreign(deleted, "{}", forged())
	w.foreign(events.AttemptSubject(r.Target(), r.ID, 1), "{}", forged())
	w.foreign("deletions.results."+string(r.Target())+"."+r.ID+".no-outcome", "{}", forged())
	w.foreign("deletions.attempts."+string(r.Target())+"."+r.ID+".deleted", "{}", forged())
	w.unreadable(deleted)
}

// Wherever they stand among its records, foreign messages hold nobody up, not even
// the request.
func TestForeignMessagesAreReadPast(t *testing.T) {
	for _, target := range events.Targets() {
		t.Run(string(target), func(t *testing.T) {
			w := newWorld(t)
			first, second := entry(7), entry(8)
			if target == kvTarget {
				first, second = contexts(7), contexts(8)
			}
			answers := []deleter.Answer{answerBusy, answerPending, answerLost, answerNotFound}
			calls := &api{}
			calls.answer = func(n int, res events.Resource) deleter.Answer {
				if fmt.Sprint(res) != fmt.Sprint(first.Resource) {
					return answerDeleted
				}
				w.litter(first)
				return answers[min(n, len(answers))-1]
			}
			var log lockedBuffer
			config := w.config(target, calls)
			config.Log = slog.New(slog.NewJSONHandler(&log, nil))
			w.litter(first)
			w.run(config)
			w.publish(first)
			var got events.Result
			w.until("a final result", func() bool {
				if all := w.readable(); len(all) > 0 {
					got = all[len(all)-1]
				}
				return got.Outcome.Final()
			})
			if got.Outcome != events.Deleted || got.Attempts != 4 {
				t.Errorf("%s after %d attempts", got.Outcome, got.Attempts)
			}
			w.litter(first)
			w.publish(first, second) // the first again: it is answered
			w.settled()
			if n := calls.count(); n != 5 {
				t.Errorf("%d calls", n)
			}
			var outcomes []string
			for _, r := range w.readable() {
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

// A record is stored only after the message that is there, whoever wrote it.
func TestTheNextRecordExpectsTheForeignMessage(t *testing.T) {
	w := newWorld(t)
	lane := New(w.js, w.config(sensayTarget, nil))
	c := lane.chain
	const id = "x"
	h := History{Attempts: 1, Arrival: 1}
	seq, err := c.attempt(t.Context(), id, "f", h, 0)
	if err != nil {
		t.Fatal(err)
	}
	h.Seq = seq
	// A publisher comes before each of the first stores, also between look and store.
	left, last := 5, uint64(0)
	c.persist = func(ctx context.Context, what string, do func(context.Context) error) error {
		if strings.HasPrefix(what, "deletions.") && left > 0 {
			left--
			last = w.foreign(events.ResultSubject(sensayTarget, id, events.Deleted), "{}", forged())
		}
		return lane.persist(ctx, what, do)
	}
	h.Attempts = 2
	seq, err = c.attempt(t.Context(), id, "f", h, 0)
	if err != nil || left > 0 {
		t.Fatalf("%v, %d publishers left", err, left)
	}
	for _, m := range w.messages(events.StreamResults, ">") {
		if got := m.Header.Get(nats.ExpectedLastSubjSeqHdr); m.Sequence == seq && got != fmt.Sprint(last) {
			t.Errorf("the record expects %s, want %d", got, last)
		}
	}
	c.persist = lane.persist

	// Another worker's record behind a foreign message is seen.
	other := New(w.js, w.config(sensayTarget, nil)).chain
	h.Seq, h.Attempts = seq, 3
	theirs, err := other.attempt(t.Context(), id, "f", h, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range readAtOnce + 1 { // more than are read at once
		w.foreign(events.ResultSubject(sensayTarget, id, events.Deleted), "{}", nil)
	}
	var moved *overtakenError
	if _, err := c.attempt(t.Context(), id, "f", h, 0); !errors.As(err, &moved) || moved.Last == nil || moved.Last.Seq != theirs {
		t.Errorf("%v, want another's record %d", err, theirs)
	}
	if err := c.follows(t.Context(), id, h); !errors.As(err, &moved) {
		t.Errorf("it follows: %v", err)
	}
	h.Seq = theirs
	if err := c.follows(t.Context(), id, h); err != nil {
		t.Error(err)
	}
}

func TestOnlyAWholeRecordIsOne(t *testing.T) {
	w := newWorld(t)
	lane := New(w.js, w.config(sensayTarget, nil))
	j := &job{Request: entry(7), progress: History{Attempts: 1, Arrival: 1, Since: noon}}
	if _, err := lane.chain.attempt(t.Context(), j.ID, "f", j.progress, time.Minute); err != nil {
		t.Fatal(err)
	}
	j.progress.Seq = 1
	step := Step{Outcome: events.Deleted, Evidence: events.Evidence{Status: 200, ObservedAt: time.Now()}}
	if _, err := lane.publishResult(t.Context(), j.ID, "f", j.progress, j.result(step)); err != nil {
		t.Fatal(err)
	}
	for _, raw := range w.messages(events.StreamResults, ">") {
		whole := func() *streams.Message {
			header := nats.Header{}
			for k, v := range raw.Header {
				header[k] = slices.Clone(v)
			}
			return &streams.Message{Subject: raw.Subject, Seq: raw.Sequence, Time: raw.Time, Header: header, Data: raw.Data}
		}
		if _, err := readLink(whole()); err != nil {
			t.Fatalf("%s: %v", raw.Subject, err)
		}
		spoil := map[string]func(m *streams.Message){
			"no body":         func(m *streams.Message) { m.Data = nil },
			"an empty object": func(m *streams.Message) { m.Data = []byte("{}") },
			"another's body":  func(m *streams.Message) { m.Data = bytes.ReplaceAll(m.Data, []byte(j.ID), []byte(newID())) },
			"another id":      func(m *streams.Message) { m.Subject = strings.Replace(m.Subject, j.ID, newID(), 1) },
			"another target": func(m *streams.Message) {
				m.Subject = strings.Replace(m.Subject, "sensay-knowledge-base", "kv-user-context", 1)
			},
			"another end": func(m *streams.Message) { m.Subject = m.Subject[:strings.LastIndex(m.Subject, ".")] + ".not-found" },
			"another kind": func(m *streams.Message) {
				m.Subject = strings.NewReplacer("attempts", "results", "results", "attempts").Replace(m.Subject)
			},
			"no headers":     func(m *streams.Message) { m.Header = nil },
			"a later record": func(m *streams.Message) { m.Header.Set(headerExpected, fmt.Sprint(m.Seq)) },
			"another number": func(m *streams.Message) { m.Header.Set(headerAttempt, "+1") },
			"another step":   func(m *streams.Message) { m.Header.Set(headerStep, "other") },
			"a name of none": func(m *streams.Message) { m.Header.Set(headerLink, "x") },
			"no time at all": func(m *streams.Message) { m.Header.Set(headerSince, "yesterday") },
		}
		needed := []string{headerLink, headerFingerprint, headerInstance, headerAttempt, headerUnanswered, headerExpected, headerStep, headerArrival}
		if strings.HasPrefix(raw.Subject, "deletions.attempts.") {
			needed = append(needed, headerLease)
		}
		for _, name := range needed {
			spoil["without "+name] = func(m *streams.Message) { m.Header.Del(name) }
		}
		for name, change := range spoil {
			m := whole()
			change(m)
			if l, err := readLink(m); err == nil {
				t.Errorf("%s, %s: read as %+v", raw.Subject, name, l)
			}
		}
	}
}

// What comes due without a worker's headers is no step of a request.
func TestAForeignMessageThatIsDueIsDropped(t *testing.T) {
	w := newWorld(t)
	calls := script(answerDeleted)
	r := entry(7)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.foreign(events.DueSubject(sensayTarget), string(body), nil)
	w.foreign(events.DueSubject(sensayTarget), "{}", nats.Header{headerAttempt: {"1"}})
	w.run(w.config(sensayTarget, calls))
	w.settled()
	if n := len(w.messages(events.StreamResults, ">")); n != 0 || calls.count() != 0 {
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
