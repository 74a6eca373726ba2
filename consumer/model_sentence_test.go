package consumer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/history"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// The sentence that `lethe show` prints about a request is compared with each state of the
// model.

const (
	modelLease = time.Minute
	modelWait  = time.Hour // of a schedule
)

// request is what `lethe show` reads of the request in a state.
func (l modelState) request() *history.Request {
	q := &history.Request{ID: "id", Target: events.SensayKnowledgeBase}
	if l.hasRecords {
		r := history.Record{Record: ledger.Record{
			Seq: headSeq, StoredAt: noon, Outcome: outcomes[l.head.outcome], Instance: "worker", Progress: l.head.progress.progress(),
		}}
		if l.head.leased {
			r.Lease = modelLease
		}
		q.Records = append(q.Records, r)
	}
	if l.schedule.exists {
		q.Next = &history.Next{At: noon.Add(modelWait), Progress: l.schedule.progress.progress()}
	}
	for _, k := range l.messages {
		if !k.exists || q.Message != nil && (k.due || q.Message.Stream == events.StreamRequests && !q.Message.Taken) {
			continue // a search finds the one that waits first, on DELETION_REQUESTS
		}
		q.Message = &history.Message{Stream: events.StreamRequests, Seq: 1, StoredAt: noon, Taken: !k.waiting || k.delivered, Ahead: -1}
		if k.due {
			q.Message.Stream = events.StreamLater
		}
	}
	return q
}

// stage is the stage of the request by the model's own rules. lapsed: more time than a
// lease has passed since the last record.
func (l modelState) stage(lapsed bool) history.Stage {
	switch {
	case l.finished:
		return history.Final
	case l.hasRecords && l.head.leased && !lapsed:
		return history.InFlight
	case l.hasRecords && l.head.leased:
		return history.Unanswered
	case l.hasRecords && l.head.progress.awaitingRemoval:
		return history.AcceptedPending
	case l.schedule.exists:
		return history.Retrying
	case l.hasRecords:
		return history.Due
	}
	stage := history.Unknown
	for _, k := range l.messages {
		switch {
		case !k.exists || k.due && stage != history.Unknown:
		case k.waiting && !k.delivered && !k.due:
			return history.Waiting
		case k.due:
			stage = history.Due
		default:
			stage = history.Taken
		}
	}
	return stage
}

// called reports whether a call on a record is in flight, by a worker that was not stopped.
func (l modelState) called() bool {
	for _, h := range l.workers {
		if l.recorded && h.step == calling && !h.stale {
			return true
		}
	}
	return false
}

// sentenceMarks has words for each stage that only the sentence of this stage contains.
var sentenceMarks = map[history.Stage]string{
	history.Waiting: "no worker has taken it yet", history.Taken: "A worker has taken message", history.InFlight: "is in flight since",
	history.Unanswered: "and its lease is over", history.Retrying: "Attempt 2 follows at 2026-11-23 13:00:00", history.Due: "; a worker takes it next",
	history.AcceptedPending: "The API accepted the deletion", history.Final: "It is final: ",
}

// compareSentences checks the sentence about each state.
func (m *model) compareSentences(t *testing.T) {
	type view struct {
		linked, finished, called, pending, lapsed bool
		last                                      modelRecord
		later                                     modelMessage
		letters                                   [messageSlots]modelMessage
	}
	seen := map[view]bool{}
	stages := map[history.Stage]int{}
	for l := range m.reached {
		// A worker that was stopped or killed may be away for longer than its lease.
		mayLapse := l.head.by == noWorker || l.workers[l.head.by].stale
		for _, lapsed := range []bool{false, true} {
			v := view{l.hasRecords, l.finished, l.called(), l.pending, lapsed, l.head, l.schedule, l.messages}
			if lapsed && !mayLapse || seen[v] {
				continue
			}
			seen[v] = true
			now := noon.Add(time.Second)
			if lapsed {
				now = noon.Add(2 * modelLease)
			}
			q := l.request()
			stage, sentence := q.Stage(now), q.Sentence(now, "")
			stages[stage]++
			wrong := ""
			switch {
			case stage != l.stage(lapsed):
				wrong = fmt.Sprintf("it is %s", l.stage(lapsed))
			case stage == history.Unknown:
				wrong = "it is stored"
			case l.called() && !l.finished && stage != history.InFlight:
				wrong = "a call is in flight"
			case stage == history.AcceptedPending && !l.pending:
				wrong = "the API did not accept it"
			case stage == history.Final && !strings.Contains(sentence, string(outcomes[l.head.outcome])):
				wrong = "another result is stored"
			}
			for other, words := range sentenceMarks {
				if strings.Contains(sentence, words) != (other == stage) {
					wrong = fmt.Sprintf("the words %q are about %s", words, other)
				}
			}
			if wrong != "" {
				t.Fatalf("the sentence is %q (%s), but %s:\n%s", sentence, stage, wrong, m.trace(l))
			}
		}
	}
	t.Logf("%d views of a request: %v", len(seen), stages)
}
