package main

import (
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/history"
)

// shownRequest is what `lethe show --output json` prints.
type shownRequest struct {
	ID       string        `json:"id"`
	Target   events.Target `json:"target"`
	State    history.Stage `json:"state"`
	Sentence string        `json:"sentence"`
	Overdue  bool          `json:"overdue,omitempty"`
	Source   string        `json:"source,omitempty"`
	Resource string        `json:"resource,omitempty"`
	TraceID  string        `json:"trace_id,omitempty"`
	Attempts int           `json:"attempts"`
	NextAt   time.Time     `json:"next_at,omitzero"`
	// Lane is why the lane makes no calls at the moment.
	Lane    string        `json:"lane,omitempty"`
	Message *shownMessage `json:"message,omitempty"`
	// MissingStreams are streams that do not exist, so that what they contained of the
	// request is not shown.
	MissingStreams []string `json:"missing_streams,omitempty"`
	// EarlierRecords is how many records before Records are not shown.
	EarlierRecords int           `json:"earlier_records,omitempty"`
	Records        []shownRecord `json:"records"`
}

// shownMessage is the message of a request that is not acknowledged.
type shownMessage struct {
	Stream   string    `json:"stream"`
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
	Taken    bool      `json:"taken"`
	Ahead    *int      `json:"ahead,omitempty"` // missing if unknown
	Invalid  string    `json:"invalid,omitempty"`
}

// shownRecord is an attempt or a result. Attempt counts the attempts up to it.
type shownRecord struct {
	Time       time.Time           `json:"time"`
	Sequence   uint64              `json:"sequence"`
	Record     string              `json:"record"` // attempt or result
	Attempt    int                 `json:"attempt"`
	Worker     string              `json:"worker"`
	LeaseUntil time.Time           `json:"lease_until,omitzero"`
	Answer     *shownAnswer        `json:"answer,omitempty"`
	Outcome    events.Outcome      `json:"outcome,omitempty"`
	ExpectedBy time.Time           `json:"expected_by,omitzero"`
	Error      *events.ResultError `json:"error,omitempty"`
	TraceID    string              `json:"trace_id,omitempty"`
}

// shownAnswer is what the API answered.
type shownAnswer struct {
	Status  int       `json:"status,omitempty"` // 0: no answer
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
}

func showRecord(q *history.Request, now time.Time, lane string) shownRequest {
	s := shownRequest{
		ID: q.ID, Target: q.Target, State: q.Stage(now), Sentence: q.Sentence(now.UTC(), lane), Overdue: q.Overdue(now),
		Source: q.Source, TraceID: q.TraceID(), Attempts: q.Attempts(), NextAt: q.NextAt(now).UTC(), Lane: lane,
		EarlierRecords: q.Earlier, Records: []shownRecord{},
	}
	if q.Resource != nil {
		s.Resource = resourceText(q.Resource)
	}
	if m := q.Message; m != nil {
		s.Message = &shownMessage{Stream: m.Stream, Sequence: m.Seq, Time: m.StoredAt, Taken: m.Taken}
		if m.Ahead >= 0 {
			s.Message.Ahead = &m.Ahead
		}
		if m.Invalid != nil {
			s.Message.Invalid = m.Invalid.Error()
		}
	}
	var before *history.Record
	for i := range q.Records {
		s.Records = append(s.Records, shownRecordOf(&q.Records[i], before))
		before = &q.Records[i]
	}
	return s
}

func shownRecordOf(r, before *history.Record) shownRecord {
	s := shownRecord{
		Time: r.StoredAt, Sequence: r.Seq, Record: "attempt", Attempt: r.Progress.Attempts, Worker: r.Instance,
		Outcome: r.Outcome, TraceID: r.TraceID,
	}
	if r.Lease > 0 {
		s.LeaseUntil = r.StoredAt.Add(r.Lease)
	}
	if a := r.Answer(before); a != nil {
		s.Answer = &shownAnswer{a.Status, a.Message, a.At}
	}
	if result := r.Result; result != nil {
		s.Record, s.ExpectedBy, s.Error = "result", result.ExpectedBy, result.Error
		if e := result.Evidence; e != nil {
			s.Answer = &shownAnswer{e.Status, e.Message, e.ObservedAt}
		}
	}
	return s
}
