package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// link is one message of a chain.
type link struct {
	Seq         uint64
	Stored      time.Time // by the server's clock
	Outcome     events.Outcome
	Fingerprint string
	Instance    string
	Lease       time.Duration
	History     History
	name        string
}

// attempt is the body of a link, for people who look.
type attempt struct {
	RequestID string        `json:"request_id"`
	Target    events.Target `json:"target"`
	Attempt   int           `json:"attempt"`
	Instance  string        `json:"instance"`
}

// readLink reads a message of a chain. Anybody who may publish on its subjects
// could have written it, so it is a link only if it is whole: its subject is one of
// the two forms, each header is there as a worker writes it, and its body says the
// same as its subject. Its error says why the message is none.
func readLink(msg *streams.Message) (*link, error) {
	tokens := strings.Split(msg.Subject, ".")
	if len(tokens) != 5 || tokens[0] != "deletions" {
		return nil, errors.New("its subject is none of a record")
	}
	target, id, last := events.Target(tokens[2]), tokens[3], tokens[4]
	history, err := strictHistory(msg.Header)
	if err != nil {
		return nil, err
	}
	l := &link{
		Seq:         msg.Seq,
		Stored:      msg.Time,
		Fingerprint: msg.Header.Get(headerFingerprint),
		Instance:    msg.Header.Get(headerInstance),
		History:     history,
		name:        msg.Header.Get(headerLink),
	}
	if name, err := uuid.Parse(l.name); err != nil || name.String() != l.name {
		return nil, missing(headerLink)
	}
	if l.Fingerprint == "" {
		return nil, missing(headerFingerprint)
	}
	if l.Instance == "" {
		return nil, missing(headerInstance)
	}
	if history.Seq >= msg.Seq {
		return nil, missing(headerExpected)
	}
	l.History.Seq = msg.Seq
	switch tokens[1] {
	case "attempts":
		var body attempt
		if json.Unmarshal(msg.Data, &body) != nil || body != (attempt{id, target, history.Attempts, l.Instance}) || last != strconv.Itoa(history.Attempts) {
			return nil, errors.New("its body is not that of an attempt")
		}
		if l.Lease, err = time.ParseDuration(msg.Header.Get(headerLease)); err != nil || l.Lease < 0 {
			return nil, missing(headerLease)
		}
	case "results":
		r, err := events.ReadResult(msg.Header, msg.Data)
		if err != nil {
			return nil, fmt.Errorf("its body is no result: %w", err)
		}
		if r.RequestID != id || r.Target != target || string(r.Outcome) != last {
			return nil, errors.New("its body is a result of another subject")
		}
		l.Outcome = r.Outcome
	default:
		return nil, errors.New("its subject is none of a record")
	}
	return l, nil
}

func missing(header string) error {
	return errors.New(header + " is missing or not as a worker writes it")
}

// strictHistory is [readHistory] for headers of which it is not known that a
// worker wrote them: each must be there, in the form that write gives it.
func strictHistory(from nats.Header) (History, error) {
	h := readHistory(from)
	as := nats.Header{}
	h.write(as)
	for _, name := range []string{headerAttempt, headerUnanswered, headerExpected, headerStep, headerArrival} {
		if from.Get(name) != as.Get(name) {
			return h, missing(name)
		}
	}
	if from.Get(headerSince) != "" && h.Since.IsZero() {
		return h, missing(headerSince)
	}
	return h, nil
}

// toldOf remembers which subjects a log line was written about. It forgets them
// when there are many, so that it stays small.
type toldOf struct {
	mu       sync.Mutex
	subjects map[string]struct{}
}

const mostTold = 1000

// first says that it is asked about a subject for the first time.
func (t *toldOf) first(subject string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, told := t.subjects[subject]; told {
		return false
	}
	if t.subjects == nil || len(t.subjects) >= mostTold {
		t.subjects = map[string]struct{}{}
	}
	t.subjects[subject] = struct{}{}
	return true
}
