package history

import (
	"context"
	"slices"
	"time"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

// Failed returns requests of a target whose newest record is a failed result, at most n,
// newest first. It reads the newest 2n failed results.
func (r *Reader) Failed(ctx context.Context, target events.Target, n int) ([]*Request, error) {
	messages, err := r.newest(ctx, events.StreamResults, events.ResultFilter(target, "", events.Failed), 2*n)
	if err != nil {
		return nil, err
	}
	var failed []*Request
	for _, msg := range messages {
		record, foreign := readRecord(msg)
		if foreign != nil || record.Result == nil {
			continue
		}
		id := record.Result.RequestID
		last, err := r.lastMessage(ctx, events.StreamResults, ledger.Filter(target, id))
		if err != nil {
			return nil, err
		}
		if last == nil || last.Seq != msg.Seq {
			continue // it was replayed
		}
		q := &Request{ID: id, Target: target}
		q.add(record)
		if failed = append(failed, q); len(failed) == n {
			break
		}
	}
	return failed, nil
}

// Overdue returns requests of a target whose deletion the API accepted and did not
// complete in time, at most n, the most overdue first. It reads the newest schedules of
// the target, because an overdue request is scheduled again and again.
func (r *Reader) Overdue(ctx context.Context, target events.Target, n int) ([]*Request, error) {
	messages, err := r.newest(ctx, events.StreamLater, events.LaterSubject(target, "*"), overdueSearched)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var overdue []*Request
	for _, msg := range messages {
		progress, err := ledger.StrictProgress(msg.Header)
		if err != nil || !progress.AwaitingRemoval || !now.After(progress.FirstAttempt.Add(lateness)) {
			continue
		}
		event, _ := events.ReadRequest(target, msg.Header, msg.Data)
		q, err := r.Read(ctx, target, event.ID)
		if err != nil {
			return nil, err
		}
		if q.Overdue(now) {
			overdue = append(overdue, q)
		}
		if len(overdue) == n {
			break
		}
	}
	slices.SortFunc(overdue, func(a, b *Request) int { return a.DueAt().Compare(b.DueAt()) })
	return overdue, nil
}

// overdueSearched is how many schedules are searched for overdue requests.
const overdueSearched = 64

// DueAt is when the deletion that the API accepted was first to be confirmed. It is zero
// if the API accepted none, or the request has a final result.
func (q *Request) DueAt() time.Time {
	if last := q.last(); last != nil && last.Progress.AwaitingRemoval && !last.Outcome.Final() {
		return last.Progress.FirstAttempt
	}
	return time.Time{}
}

// At is when the last record was stored, zero if there is none.
func (q *Request) At() time.Time {
	if last := q.last(); last != nil {
		return last.StoredAt
	}
	return time.Time{}
}

// newest returns the newest messages on a subject, at most n, newest first. The server
// reads forward only, so it reads pieces of the stream, each twice as long as the one
// after it.
func (r *Reader) newest(ctx context.Context, stream, subject string, n int) (newest []*streams.Message, err error) {
	last, err := r.lastMessage(ctx, stream, subject)
	if err != nil || last == nil {
		return nil, err
	}
	newest = []*streams.Message{last}
	for end, length := last.Seq, uint64(n); end > 1 && len(newest) < n; length *= 2 {
		from := max(end, length+1) - length
		piece, err := r.newestIn(ctx, stream, subject, from, end, n-len(newest))
		if err != nil {
			return nil, err
		}
		newest = append(newest, piece...)
		end = from
	}
	return newest, nil
}

// newestIn is newest for the sequences from one to before another. If there are more than
// n messages, it reads the newer half first.
func (r *Reader) newestIn(ctx context.Context, stream, subject string, from, end uint64, n int) (newest []*streams.Message, err error) {
	var oldest []*streams.Message
	for from < end && len(oldest) < n {
		msg, err := r.nextMessage(ctx, stream, subject, from)
		if err != nil {
			return nil, err
		}
		if msg == nil || msg.Seq >= end {
			from = end
			break
		}
		oldest, from = append(oldest, msg), msg.Seq+1
	}
	if from < end && n > 0 {
		middle := from + (end-from)/2
		if newest, err = r.newestIn(ctx, stream, subject, middle, end, n); err != nil {
			return nil, err
		}
		older, err := r.newestIn(ctx, stream, subject, from, middle, n-len(newest))
		if err != nil {
			return nil, err
		}
		newest = append(newest, older...)
	}
	slices.Reverse(oldest)
	newest = append(newest, oldest...)
	return newest[:min(n, len(newest))], nil
}
