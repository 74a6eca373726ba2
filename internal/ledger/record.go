package ledger

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

// Record is one stored record of a request: an attempt or a result.
type Record struct {
	Seq         uint64
	StoredAt    time.Time      // by the server's clock
	Outcome     events.Outcome // "" for an attempt
	Fingerprint string         // of the resource, or of an unreadable event
	Instance    string
	Lease       time.Duration // from StoredAt on; 0 for an attempt that is over
	Progress    Progress
	name        string // of this one record
}

// The headers of a record beside its [Progress].
const (
	headerRecord      = "Lethe-Link"        // names this one record, new for each
	headerFingerprint = "Lethe-Fingerprint" // of the resource, or of an unreadable event
	headerInstance    = "Lethe-Instance"    // the worker that wrote it
	headerLease       = "Lethe-Lease"       // on attempts: how long the worker may take
)

// attempt is the body of an attempt's record, for people who read the stream.
type attempt struct {
	RequestID string        `json:"request_id"`
	Target    events.Target `json:"target"`
	Attempt   int           `json:"attempt"`
	Instance  string        `json:"instance"`
}

// ReadRecord reads a message on a request's subjects. Any publisher with permission could
// have written it, so it is a record only if it is complete: its subject has one of the
// two forms, it has each header as a worker writes it, and its body agrees with its
// subject. The error says why the message is foreign.
func ReadRecord(msg *streams.Message) (*Record, error) {
	tokens := strings.Split(msg.Subject, ".")
	if len(tokens) != 5 || tokens[0] != "deletions" {
		return nil, errors.New("its subject is not that of a record")
	}
	target, id, last := events.Target(tokens[2]), tokens[3], tokens[4]
	progress, err := StrictProgress(msg.Header)
	if err != nil {
		return nil, err
	}
	r := &Record{
		Seq:         msg.Seq,
		StoredAt:    msg.Time,
		Fingerprint: msg.Header.Get(headerFingerprint),
		Instance:    msg.Header.Get(headerInstance),
		Progress:    progress,
		name:        msg.Header.Get(headerRecord),
	}
	if name, err := uuid.Parse(r.name); err != nil || name.String() != r.name {
		return nil, missing(headerRecord)
	}
	if r.Fingerprint == "" {
		return nil, missing(headerFingerprint)
	}
	if r.Instance == "" {
		return nil, missing(headerInstance)
	}
	if progress.Seq >= msg.Seq {
		return nil, missing(headerExpected)
	}
	r.Progress.Seq = msg.Seq
	switch tokens[1] {
	case "attempts":
		var body attempt
		if json.Unmarshal(msg.Data, &body) != nil || body != (attempt{id, target, progress.Attempts, r.Instance}) || last != strconv.Itoa(progress.Attempts) {
			return nil, errors.New("its body is not that of an attempt")
		}
		if r.Lease, err = time.ParseDuration(msg.Header.Get(headerLease)); err != nil || r.Lease < 0 {
			return nil, missing(headerLease)
		}
	case "results":
		res, err := events.ReadResult(msg.Header, msg.Data)
		if err != nil {
			return nil, fmt.Errorf("its body is not a result: %w", err)
		}
		if res.RequestID != id || res.Target != target || string(res.Outcome) != last {
			return nil, errors.New("its body is a result of another subject")
		}
		r.Outcome = res.Outcome
	default:
		return nil, errors.New("its subject is not that of a record")
	}
	return r, nil
}

func missing(header string) error {
	return errors.New(header + " is missing or not as a worker writes it")
}

// StrictProgress is [ReadProgress] for headers that perhaps no worker wrote: each must
// exist, in the form that [Progress.Write] gives it.
func StrictProgress(from nats.Header) (Progress, error) {
	p := ReadProgress(from)
	as := nats.Header{}
	p.Write(as)
	for _, name := range []string{headerAttempt, headerMayHaveDeleted, headerExpected, headerStep, headerRequestSeq} {
		if from.Get(name) != as.Get(name) {
			return p, missing(name)
		}
	}
	if from.Get(headerFirstAttempt) != "" && p.FirstAttempt.IsZero() {
		return p, missing(headerFirstAttempt)
	}
	return p, nil
}

// seenSubjects remembers the subjects that were logged. It forgets them when there are
// many, so that it stays small.
type seenSubjects struct {
	mu       sync.Mutex
	subjects map[string]struct{}
}

const maxSeen = 1000

// first reports whether it was not called with this subject before.
func (s *seenSubjects) first(subject string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.subjects[subject]; known {
		return false
	}
	if s.subjects == nil || len(s.subjects) >= maxSeen {
		s.subjects = map[string]struct{}{}
	}
	s.subjects[subject] = struct{}{}
	return true
}
