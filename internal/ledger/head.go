package ledger

import (
	"context"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// CheckHead returns nil if the request's last record is the one that p knows, and a
// [*ConflictError] if not. It fails with another error when ctx ends.
func (l *Ledger) CheckHead(ctx context.Context, id string, p Progress) error {
	if p.Seq == 0 && l.NoneExist(ctx, []string{id}) {
		return nil
	}
	head, err := l.head(ctx, id)
	if err == nil && !head.isAt(p.Seq) {
		err = &ConflictError{Last: head.last}
	}
	return err
}

// Last returns the request's last record, nil if it has none.
func (l *Ledger) Last(ctx context.Context, id string) (*Record, error) {
	head, err := l.head(ctx, id)
	return head.last, err
}

// head is the end of a request's records.
type head struct {
	last *Record // nil if there is none
	seq  uint64  // of the last message, a record or a foreign one; 0 if there is none
}

// isAt reports whether the last record has this sequence; 0: there is none.
func (h head) isAt(seq uint64) bool {
	return h.last == nil && seq == 0 || h.last != nil && h.last.Seq == seq
}

// head reads the end of a request's records. It asks the stream's leader: a direct
// get may be answered by a replica that lags behind and does not have a final
// result yet.
func (l *Ledger) head(ctx context.Context, id string) (head, error) {
	var msg *streams.Message
	err := l.Retry(ctx, events.StreamResults, func(ctx context.Context) (err error) {
		msg, err = streams.LastMessage(ctx, l.js, events.StreamResults, l.filter(id))
		return err
	})
	if err != nil || msg == nil {
		return head{}, err
	}
	last, foreign := ReadRecord(msg)
	if foreign == nil {
		return head{last, msg.Seq}, nil
	}
	l.logForeign(msg, foreign)
	last, err = l.lastBefore(ctx, id, msg.Seq)
	return head{last, msg.Seq}, err
}

// messagesPerTry is how many messages are read within one timeout. However many messages
// a publisher put there, the stream must not seem to fail.
const messagesPerTry = 100

// lastBefore reads a request's messages forward and returns the last record before
// one of them. The server has no way to ask for it backward.
func (l *Ledger) lastBefore(ctx context.Context, id string, before uint64) (last *Record, err error) {
	for next := uint64(1); next < before; {
		err := l.Retry(ctx, events.StreamResults, func(ctx context.Context) error {
			for range messagesPerTry {
				msg, err := streams.NextMessage(ctx, l.js, events.StreamResults, l.filter(id), next)
				if err != nil {
					return err
				}
				if msg == nil || msg.Seq >= before {
					next = before
					return nil
				}
				next = msg.Seq + 1
				if r, foreign := ReadRecord(msg); foreign == nil {
					last = r
				} else {
					l.logForeign(msg, foreign)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return last, nil
}

// logForeign logs, once for each subject, that a message is no record.
func (l *Ledger) logForeign(msg *streams.Message, reason error) {
	if l.foreign.first(msg.Subject) {
		l.log.Warn("skipped a message that no worker wrote", "stream", events.StreamResults, "subject", msg.Subject, "sequence", msg.Seq, "reason", reason)
	}
}
