package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/backlog"
	"github.com/lethe-dev/lethe/internal/history"
	"github.com/lethe-dev/lethe/internal/page"
)

// listed is how many failed requests of a target the operator's page lists, and how many
// overdue ones.
const listed = 5

// pageSource provides a worker's page with its values.
type pageSource struct{ *admin }

// Situation implements page.Source.
func (p pageSource) Situation() page.Situation {
	worker := p.worker.Load()
	s := page.Situation{Instance: p.instance, Version: buildVersion(), NotReady: p.away(worker)}
	if worker == nil {
		return s
	}
	for i, lane := range worker.lanes.lanes {
		l := pageLane(lane.State(), lane.Totals(), worker.lanes.configs[i].listed)
		l.Calls = lane.CallsInFlight()
		s.Lanes = append(s.Lanes, l)
	}
	if read := worker.backlog.Latest(); read != nil {
		addBacklog(&s, read)
	}
	return s
}

// addBacklog adds the numbers of the server.
func addBacklog(s *page.Situation, read *backlog.Snapshot) {
	for _, lane := range read.Lanes {
		for i := range s.Lanes {
			if s.Lanes[i].Target != string(lane.Target) {
				continue
			}
			l := &s.Lanes[i]
			l.Waiting, l.InFlight, l.Scheduled, l.Failed, l.Oldest = lane.Waiting, lane.InFlight, lane.Scheduled, lane.Failed, lane.Oldest
			if lane.Oldest != nil && *lane.Oldest > 0 { // it grows until the next reading
				oldest := *lane.Oldest + time.Since(read.At)
				l.Oldest = &oldest
			}
		}
	}
	for _, stream := range read.Streams {
		s.CountedAt = read.At
		s.Streams = append(s.Streams, page.Stream{Name: stream.Name, Messages: stream.Messages, Bytes: stream.Bytes, MaxBytes: stream.MaxBytes})
		if stream.Name == events.StreamRequests {
			s.RequestsIn = &stream.LastSeq
		}
	}
	for _, problem := range read.Problems {
		s.Unread = append(s.Unread, problem.Error())
	}
}

func pageLane(state consumer.State, totals consumer.Totals, served bool) page.Lane {
	l := page.Lane{
		Target: string(state.Target), State: string(state.Status), NotServed: !served, MaxCalls: state.MaxCalls,
		CallsLimit: state.CallsPerSecond, NextCall: state.NextCall,
		Totals: page.Totals{Calls: totals.Calls, Results: map[string]uint64{}},
	}
	for _, problem := range state.Problems() {
		l.Problems = append(l.Problems, page.Problem{State: string(problem.Status), Reason: problem.Reason, Since: problem.Since, Fix: problem.Fix})
	}
	for outcome, n := range totals.Results {
		l.Totals.Results[string(outcome)] = n
	}
	for bucket, n := range totals.Durations {
		l.Totals.Latency = append(l.Totals.Latency, page.Bucket{UpTo: consumer.BucketEnd(bucket), Count: n})
	}
	return l
}

// errNotConnected is the error of a read while the worker is not connected.
var errNotConnected = errors.New("not connected to NATS")

// reader returns a reader of requests, or errNotConnected.
func (p pageSource) reader() (*history.Reader, *watched, error) {
	worker := p.worker.Load()
	if worker == nil || !worker.nc.IsConnected() {
		return nil, nil, errNotConnected
	}
	return &history.Reader{JS: worker.js, Messages: true}, worker, nil
}

// Attention implements page.Source.
func (p pageSource) Attention(ctx context.Context) (page.Attention, error) {
	reader, worker, err := p.reader()
	if err != nil {
		return page.Attention{}, err
	}
	var a page.Attention
	for _, lane := range worker.lanes.lanes {
		target := lane.State().Target
		failed, err := reader.Failed(ctx, target, listed)
		if err != nil {
			a.Unread = append(a.Unread, fmt.Sprintf("failed requests of %s: %v", target, err))
		}
		for _, q := range failed {
			a.Failed = append(a.Failed, page.Entry{ID: q.ID, Target: string(target), At: q.At(), Reason: failure(q)})
		}
		overdue, err := reader.Overdue(ctx, target, listed)
		if err != nil {
			a.Unread = append(a.Unread, fmt.Sprintf("overdue deletions of %s: %v", target, err))
		}
		for _, q := range overdue {
			a.Overdue = append(a.Overdue, page.Entry{ID: q.ID, Target: string(target), At: q.DueAt(), Reason: q.Sentence(time.Now().UTC(), "")})
		}
	}
	for _, stream := range reader.Missing() {
		a.Unread = append(a.Unread, missingStream(stream))
	}
	slices.SortStableFunc(a.Failed, func(x, y page.Entry) int { return y.At.Compare(x.At) })
	slices.SortStableFunc(a.Overdue, func(x, y page.Entry) int { return x.At.Compare(y.At) })
	return a, nil
}

// failure returns why a request failed.
func failure(q *history.Request) string {
	for _, r := range q.Records {
		if r.Result != nil && r.Result.Error != nil {
			return string(r.Result.Error.Code) + ": " + r.Result.Error.Message
		}
	}
	return string(events.Failed)
}

// Find implements page.Source.
func (p pageSource) Find(ctx context.Context, id string) (page.Answer, error) {
	reader, worker, err := p.reader()
	if err != nil {
		return page.Answer{}, err
	}
	seq, _ := history.Sequence(id)
	found, missing, err := findRequest(ctx, reader, id, seq, events.Targets())
	if err != nil {
		return page.Answer{}, err
	}
	answer := page.Answer{Missing: missing}
	for _, q := range found {
		story := storyOf(q, worker.laneReason(q.Target))
		for _, stream := range reader.Missing() {
			story.Sentence += " Problem: " + missingStream(stream) + "."
		}
		answer.Stories = append(answer.Stories, story)
	}
	return answer, nil
}

// laneReason returns why this worker makes no calls for a target, "" if it makes some, or if
// others serve the target.
func (w *watched) laneReason(target events.Target) string {
	for i, lane := range w.lanes.lanes {
		if state := lane.State(); state.Target == target && w.lanes.configs[i].listed {
			return laneReason([]workerStats{{Lanes: []consumer.State{state}}}, target)
		}
	}
	return ""
}

// storyOf describes a request like `lethe show`.
func storyOf(q *history.Request, lane string) page.Story {
	now := time.Now().UTC()
	s := page.Story{ID: q.ID, Target: string(q.Target), Source: q.Source, TraceID: q.TraceID(), State: stateOfRequest(q, now), Earlier: q.Earlier}
	s.Sentence = strings.ReplaceAll(q.Sentence(now, lane), "lethe failed replay "+q.ID, "`lethe failed replay "+q.ID+"`")
	if q.Resource != nil {
		s.Resource = resourceText(q.Resource)
	}
	for _, l := range q.Lines() {
		s.Lines = append(s.Lines, page.Line{Time: l.Time, What: l.What, Text: l.Text})
	}
	return s
}
