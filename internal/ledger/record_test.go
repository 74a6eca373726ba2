package ledger

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

func TestAnIncompleteRecordIsForeign(t *testing.T) {
	js := newServer(t)
	l := newLedger(js, sensayTarget)
	id := NewID()
	p := Progress{Attempts: 1, RequestSeq: 1, FirstAttempt: noon}
	p.Seq = put(t, l, l.NewAttempt(t.Context(), id, "f", p, time.Minute), nil)
	result, err := l.NewResult(t.Context(), id, "f", p, entryResult(id))
	put(t, l, result, err)
	for _, raw := range messages(t, js, events.StreamResults) {
		whole := func() *streams.Message {
			m := *raw
			m.Header = nats.Header{}
			for k, v := range raw.Header {
				m.Header[k] = slices.Clone(v)
			}
			return &m
		}
		if _, err := ReadRecord(whole()); err != nil {
			t.Fatalf("%s: %v", raw.Subject, err)
		}
		spoil := map[string]func(m *streams.Message){
			"no body":         func(m *streams.Message) { m.Data = nil },
			"an empty object": func(m *streams.Message) { m.Data = []byte("{}") },
			"another's body":  func(m *streams.Message) { m.Data = bytes.ReplaceAll(m.Data, []byte(id), []byte(NewID())) },
			"another id":      func(m *streams.Message) { m.Subject = strings.Replace(m.Subject, id, NewID(), 1) },
			"another target": func(m *streams.Message) {
				m.Subject = strings.Replace(m.Subject, "sensay-knowledge-base", "kv-user-context", 1)
			},
			"another end": func(m *streams.Message) { m.Subject = m.Subject[:strings.LastIndex(m.Subject, ".")] + ".not-found" },
			"another kind": func(m *streams.Message) {
				m.Subject = strings.NewReplacer("attempts", "results", "results", "attempts").Replace(m.Subject)
			},
			"no headers":      func(m *streams.Message) { m.Header = nil },
			"a later record":  func(m *streams.Message) { m.Header.Set(headerExpected, fmt.Sprint(m.Seq)) },
			"another number":  func(m *streams.Message) { m.Header.Set(headerAttempt, "+1") },
			"another step":    func(m *streams.Message) { m.Header.Set(headerStep, "other") },
			"an invalid name": func(m *streams.Message) { m.Header.Set(headerRecord, "x") },
			"an invalid time": func(m *streams.Message) { m.Header.Set(headerFirstAttempt, "yesterday") },
		}
		needed := []string{headerRecord, headerFingerprint, headerInstance, headerAttempt, headerMayHaveDeleted, headerExpected, headerStep, headerRequestSeq}
		if strings.HasPrefix(raw.Subject, "deletions.attempts.") {
			needed = append(needed, headerLease)
		}
		for _, name := range needed {
			spoil["without "+name] = func(m *streams.Message) { m.Header.Del(name) }
		}
		for name, change := range spoil {
			m := whole()
			change(m)
			if r, err := ReadRecord(m); err == nil {
				t.Errorf("%s, %s: read as %+v", raw.Subject, name, r)
			}
		}
	}
}
