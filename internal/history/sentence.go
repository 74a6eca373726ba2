package history

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// Sentence describes the state of the request and its next step. lane is why its lane
// makes no calls at the moment, or few, such as "its lane is paused: maintenance"; "" if
// nothing prevents them. Times are in now's location.
func (q *Request) Sentence(now time.Time, lane string) string {
	clock := clock{now}
	s := q.sentence(clock, lane != "")
	lane = strings.TrimSuffix(lane, ".")
	switch stage := q.Stage(now); {
	case lane == "" || stage == Final || stage == InFlight || stage == Unknown:
		return s
	case q.Next != nil && now.Before(q.Next.At):
		return s + " At present " + lane + "."
	default:
		return s + " It waits because " + lane + "."
	}
}

func (q *Request) sentence(clock clock, blocked bool) string {
	switch q.Stage(clock.now) {
	case Waiting:
		return q.waiting(clock)
	case Taken:
		return q.taken(clock)
	case InFlight:
		return q.inFlight(clock)
	case Unanswered:
		return q.unanswered(clock)
	case Retrying:
		return q.retrying(clock)
	case Due:
		return q.due(clock, blocked)
	case AcceptedPending:
		return q.pending(clock, blocked)
	case Final:
		return q.final(clock)
	default:
		return "Nothing is stored of it."
	}
}

func (q *Request) waiting(clock clock) string {
	what := "It waits in " + q.Message.Stream
	if q.last() != nil {
		what = "A replay of the failed request waits in " + q.Message.Stream
	}
	what += " since " + clock.at(q.Message.StoredAt) + " and no worker has taken it yet"
	switch ahead := q.Message.Ahead; {
	case ahead == 0:
		what += "; it is the next one of its lane"
	case ahead == 1:
		what += "; one message of its lane is ahead of it"
	case ahead > 1:
		what += fmt.Sprintf("; %d messages of its lane are ahead of it", ahead)
	}
	return what + "." + q.invalid()
}

func (q *Request) taken(clock clock) string {
	return fmt.Sprintf("A worker has taken message %d of %s, stored at %s, and has stored nothing for it yet; if that worker stopped, the message is delivered again.",
		q.Message.Seq, q.Message.Stream, clock.at(q.Message.StoredAt)) + q.invalid()
}

// invalid adds that the event breaks the contract.
func (q *Request) invalid() string {
	if q.Message.Invalid == nil {
		return ""
	}
	return " The event breaks the contract, and will be answered as invalid: " + strings.TrimSuffix(q.Message.Invalid.Error(), ".") + "."
}

func (q *Request) inFlight(clock clock) string {
	last := q.last()
	s := fmt.Sprintf("%s is in flight since %s: worker %s makes the call or waits for the answer, and has until %s.",
		q.attempt(last.Progress), clock.at(last.StoredAt), last.Instance, clock.at(last.StoredAt.Add(last.Lease)))
	if q.Overdue(clock.now) {
		s += " The deletion is overdue."
	}
	return s
}

func (q *Request) unanswered(clock clock) string {
	last := q.last()
	s := fmt.Sprintf("%s has no answer: worker %s recorded it at %s, and its lease is over since %s; the call may have deleted. ",
		q.attempt(last.Progress), last.Instance, clock.at(last.StoredAt), clock.at(last.StoredAt.Add(last.Lease)))
	if q.Next != nil {
		return s + "The next attempt follows at " + clock.at(q.Next.At) + "."
	}
	return s + "The message is delivered again, and the next attempt follows."
}

// attempt names an attempt, at the beginning of a sentence.
func (q *Request) attempt(p ledger.Progress) string {
	if p.AwaitingRemoval {
		return fmt.Sprintf("Attempt %d, which confirms the deletion,", p.Attempts)
	}
	return fmt.Sprintf("Attempt %d", p.Attempts)
}

func (q *Request) retrying(clock clock) string {
	p := q.Next.Progress
	if q.last() != nil {
		p = q.last().Progress
	}
	return lastAnswer(p) + fmt.Sprintf(" Attempt %d follows at %s.", p.Attempts+1, clock.at(q.Next.At))
}

func (q *Request) due(clock clock, blocked bool) string {
	s := "Its next attempt is due"
	if q.last() != nil {
		p := q.last().Progress
		s = lastAnswer(p) + fmt.Sprintf(" Attempt %d is due", p.Attempts+1)
	}
	if q.Message != nil && q.Message.Stream == events.StreamLater {
		s += " since " + clock.at(q.Message.StoredAt)
	}
	if !blocked {
		s += "; a worker takes it next, or is making it now"
	}
	return s + "."
}

// lastAnswer describes the last answer of the API.
func lastAnswer(p ledger.Progress) string {
	switch {
	case p.Attempts == 0 && p.Answer.At.IsZero():
		return "No call was made yet."
	case p.Attempts == 0:
		return "No call was made yet: " + strings.TrimSuffix(p.Answer.Text(), ".") + "."
	case p.Answer.At.IsZero():
		return fmt.Sprintf("Attempt %d did not end the request.", p.Attempts)
	case p.Answer.Status == 0:
		return fmt.Sprintf("Attempt %d got no answer from the API: %s.", p.Attempts, strings.TrimSuffix(p.Answer.Text(), "."))
	default:
		return fmt.Sprintf("The API answered attempt %d with %s.", p.Attempts, strings.TrimSuffix(p.Answer.Text(), "."))
	}
}

func (q *Request) pending(clock clock, blocked bool) string {
	at, expectedBy := q.accepted()
	s := "The API accepted the deletion"
	if !at.IsZero() {
		s += " at " + clock.at(at)
	}
	if !expectedBy.IsZero() {
		s += " and expects it to be complete by " + clock.at(expectedBy)
	}
	due := q.last().Progress.FirstAttempt
	next := q.Next
	switch {
	case q.Overdue(clock.now) && next != nil && clock.now.Before(next.At):
		s += fmt.Sprintf("; it is overdue: it was to be confirmed at %s, and the next confirmation is at %s", clock.at(due), clock.at(next.At))
	case q.Overdue(clock.now):
		s += "; it is overdue: it was to be confirmed at " + clock.at(due)
	case next != nil && clock.now.Before(next.At):
		s += "; the same call is made again at " + clock.at(next.At) + " to confirm it"
	default:
		s += "; its confirmation is due"
	}
	if !blocked && (next == nil || !clock.now.Before(next.At)) {
		s += ", and a worker makes the same call next, or is making it now"
	}
	if a := q.last().Progress.Answer; q.last().Outcome == "" && !a.At.IsZero() {
		s += "; the last confirmation got " + strings.TrimSuffix(a.Text(), ".")
	}
	return s + "."
}

func (q *Request) final(clock clock) string {
	last := q.last()
	s := "It is final: " + string(last.Outcome) + " at " + clock.at(last.StoredAt)
	r := last.Result
	if r == nil {
		return s + "."
	}
	if under := strings.HasPrefix(q.ID, "seq-"); under {
		s = "The message with this sequence could not be answered under an id of its own. It is final: " + string(last.Outcome) + " at " + clock.at(last.StoredAt)
	}
	if r.Attempts > 0 {
		s += fmt.Sprintf(", after %s", plural(r.Attempts, "attempt"))
	}
	switch e := r.Error; {
	case e != nil:
		s += ", " + string(e.Code) + ": " + strings.TrimSuffix(e.Message, ".")
	case r.Evidence != nil:
		s += "; the API answered " + strings.TrimSuffix(Answered(r.Evidence.Status, r.Evidence.Message), ".")
		if r.Evidence.AfterUnansweredAttempt {
			s += ", after an attempt without an answer that may have deleted"
		}
	}
	if last.Outcome == events.Failed {
		s += ". To try it again: lethe failed replay " + q.ID
	}
	return s + "."
}

// Line is one record or step as text.
type Line struct {
	Time time.Time
	What string // attempt 2, result, next
	Text string
}

// Lines are the request's history, oldest first: its message, its records, and its next
// step with its planned time.
func (q *Request) Lines() []Line {
	var all []Line
	m := q.Message
	if m != nil && m.Stream == events.StreamRequests {
		all = append(all, Line{m.StoredAt, "request", fmt.Sprintf("stored as message %d of %s", m.Seq, m.Stream)})
	}
	for i := range q.Records {
		var before *Record
		if i > 0 {
			before = &q.Records[i-1]
		}
		all = append(all, q.Records[i].line(before))
	}
	if m != nil && m.Stream == events.StreamLater {
		all = append(all, Line{m.StoredAt, fmt.Sprintf("attempt %d", q.Attempts()+1), "is due"})
	}
	if q.Next != nil && (q.last() == nil || !q.last().Outcome.Final()) {
		p := q.Next.Progress
		if q.last() != nil {
			p = q.last().Progress
		}
		what := "is scheduled"
		if p.AwaitingRemoval {
			what = "is scheduled, to confirm the deletion"
		}
		all = append(all, Line{q.Next.At, fmt.Sprintf("attempt %d", p.Attempts+1), what})
	}
	return all
}

func (r *Record) line(before *Record) Line {
	if r.Result != nil {
		return Line{r.StoredAt, "result", r.resultText()}
	}
	line := Line{r.StoredAt, fmt.Sprintf("attempt %d", r.Progress.Attempts), ""}
	switch answer := r.Answer(before); {
	case r.Lease > 0:
		line.Text = fmt.Sprintf("recorded by worker %s, which has %s for the call", r.Instance, r.Lease)
	case before != nil && before.Lease > 0 && before.Progress.Attempts > r.Progress.Attempts && answer == nil:
		line.What = fmt.Sprintf("attempt %d", before.Progress.Attempts)
		line.Text = "returned by worker " + r.Instance + ": no call was made"
	case answer == nil:
		line.Text = "ended without a result; its answer was not stored"
	case answer.Status == 0:
		line.Text = "no answer: " + answer.Text()
	default:
		line.Text = "the API answered " + answer.Text()
	}
	return line
}

// Answer is what the API answered to the attempt that the record ends, nil if it ends
// none or if the answer was not stored with it. before is the record before it, nil if
// there is none: a record that ends no call repeats the answer of an earlier one.
func (r *Record) Answer(before *Record) *ledger.Answer {
	a := r.Progress.Answer
	if r.Outcome != "" || r.Lease > 0 || a.At.IsZero() || before != nil && a == before.Progress.Answer {
		return nil
	}
	return &a
}

func (r *Record) resultText() string {
	s := string(r.Outcome)
	if !r.Outcome.Final() {
		s += ", not final"
	}
	switch e := r.Result.Error; {
	case e != nil:
		s += ", " + string(e.Code) + ": " + e.Message
	case r.Result.Evidence != nil:
		s += ": the API answered " + Answered(r.Result.Evidence.Status, r.Result.Evidence.Message)
	}
	return s
}

// Answered is an answer of an API in words: its status, if there was one, and its message,
// which may begin with the status.
func Answered(status int, message string) string {
	return ledger.Answer{Status: status, Message: message}.Text()
}

// clock formats times relative to now.
type clock struct{ now time.Time }

// at is a time with its date, its zone and its distance from now.
func (c clock) at(t time.Time) string { return Stamp(t, c.now) + " (" + Age(t, c.now) + ")" }

// Stamp is a time with its date and its zone, in now's location.
func Stamp(t, now time.Time) string { return t.In(now.Location()).Format("2006-01-02 15:04:05 -07:00") }

// Age is how far a time is from now, such as "3 min ago" or "in 2 h".
func Age(t, now time.Time) string {
	d := now.Sub(t)
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return strconv.FormatInt(int64(d/time.Second), 10) + " s"
	case d < 2*time.Hour:
		return strconv.FormatInt(int64(d/time.Minute), 10) + " min"
	case d < 48*time.Hour:
		return strconv.FormatInt(int64(d/time.Hour), 10) + " h"
	default:
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + " days"
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
