package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// The server does not validate the filter: a typo would turn the expectation off.
func TestTheFilterIsThatOfTheContract(t *testing.T) {
	l := &Ledger{target: sensayTarget}
	if got, want := l.filter("abc-1"), "deletions.*.sensay-knowledge-base.abc-1.*"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestOnlyADefiniteRefusalCountsAsAConflict(t *testing.T) {
	for code, want := range map[jetstream.ErrorCode]bool{10071: true, 10164: false, 10163: false, 10077: false} {
		if got := isConflict(fmt.Errorf("nats: %w", &jetstream.APIError{ErrorCode: code})); got != want {
			t.Errorf("%d is a refusal: %v", code, got)
		}
	}
	if isConflict(errors.New("time-out")) {
		t.Error("a time-out is a refusal")
	}
}

func TestOneOfManyConcurrentWritersIsAccepted(t *testing.T) {
	const writers, requests = 8, 50
	js := newServer(t)
	for range requests {
		id := NewID()
		var accepted atomic.Int32
		var writing sync.WaitGroup
		for range writers {
			writing.Go(func() {
				l := newLedger(js, sensayTarget)
				p, err := l.NewResult(t.Context(), id, "f", Progress{Attempts: 1}, entryResult(id))
				if err != nil {
					t.Error(err)
					return
				}
				var conflict *ConflictError
				switch err := l.Append(t.Context(), p); {
				case err == nil:
					accepted.Add(1)
				case !errors.As(err, &conflict) || !conflict.Last.Outcome.Final():
					t.Errorf("refused with %v", err)
				}
			})
		}
		writing.Wait()
		if accepted.Load() != 1 {
			t.Fatalf("%d final results were accepted for one request", accepted.Load())
		}
	}
	if n := len(messages(t, js, events.StreamResults)); n != requests {
		t.Errorf("%d results of %d requests", n, requests)
	}
}

// Records published together have the same expectations as single ones.
func TestRecordsPublishedTogetherAreStoredUnlessOneConflicts(t *testing.T) {
	js := newServer(t)
	l := newLedger(js, sensayTarget)
	taken := NewID()
	put(t, l, l.NewAttempt(t.Context(), taken, "f", Progress{Attempts: 1}, 0), nil)
	ids := []string{NewID(), taken, NewID()}
	all := make([]*Pending, len(ids))
	for i, id := range ids {
		all[i] = l.NewAttempt(t.Context(), id, "f", Progress{Attempts: 1}, 0)
	}
	l.AppendAll(t.Context(), all)
	for i, p := range all {
		last, err := l.Last(t.Context(), p.ID)
		if err != nil || last == nil {
			t.Fatal(err)
		}
		if want := p.ID != taken; p.Stored != want || p.Stored && p.Progress.Seq != last.Seq {
			t.Errorf("record %d: stored %v as %d, the last is %d", i, p.Stored, p.Progress.Seq, last.Seq)
		}
	}
	if last := asConflict(t, l.Append(t.Context(), all[1])); last.Seq != 1 {
		t.Errorf("the conflict names record %d, want 1", last.Seq)
	}
}

// A publish whose acknowledgement is lost is repeated, and finds its own record.
func TestAConflictWithOurOwnRecordIsASuccess(t *testing.T) {
	js := newServer(t)
	l := newLedger(js, sensayTarget)
	own := l.NewAttempt(t.Context(), "x", "f", Progress{Attempts: 1, RequestSeq: 1}, time.Second)
	first := put(t, l, own, nil)
	own.Progress.Seq = 0 // as if the acknowledgement was lost
	if again := put(t, l, own, nil); again != first {
		t.Errorf("sequence %d, want %d", again, first)
	}
	other := l.NewAttempt(t.Context(), "x", "f", Progress{Attempts: 1, RequestSeq: 1}, time.Second)
	if last := asConflict(t, l.Append(t.Context(), other)); last.Seq != first {
		t.Errorf("another's record: %+v", last)
	}
}

// intruder is a publisher that puts a foreign message on the stream before each attempt
// that arrives from one connection.
type intruder struct {
	net.Conn
	js   jetstream.JetStream
	left int
	last uint64 // sequence of the last foreign message
}

// Dial opens the connection.
func (i *intruder) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	i.Conn = conn
	return i, err
}

func (i *intruder) Write(p []byte) (int, error) {
	if i.left > 0 && bytes.Contains(p, []byte("HPUB deletions.attempts.")) {
		i.left--
		ack, err := i.js.Publish(context.Background(), events.ResultSubject(sensayTarget, "x", events.Deleted), []byte("{}"))
		if err != nil {
			return 0, err
		}
		i.last = ack.Sequence
	}
	return i.Conn.Write(p)
}

// connect returns a ledger whose attempts arrive after foreign messages.
func (i *intruder) connect(t *testing.T) *Ledger {
	t.Helper()
	nc, err := nats.Connect(i.js.Conn().ConnectedUrl(), nats.SetCustomDialer(i))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return newLedger(js, sensayTarget)
}

// A record can follow a message that no worker wrote.
func TestTheNextRecordExpectsTheForeignMessage(t *testing.T) {
	js := newServer(t)
	publisher := &intruder{js: js, left: 5}
	l := publisher.connect(t)
	p := Progress{Attempts: 1, RequestSeq: 1}
	p.Seq = put(t, newLedger(js, sensayTarget), l.NewAttempt(t.Context(), "x", "f", p, 0), nil)
	p.Attempts = 2
	seq := put(t, l, l.NewAttempt(t.Context(), "x", "f", p, 0), nil)
	for _, m := range messages(t, js, events.StreamResults) {
		if got := m.Header.Get(nats.ExpectedLastSubjSeqHdr); m.Seq == seq && got != fmt.Sprint(publisher.last) {
			t.Errorf("the record expects %s, want %d", got, publisher.last)
		}
	}

	// Another worker's record before foreign messages is found.
	p.Seq, p.Attempts = seq, 3
	other := newLedger(js, sensayTarget)
	theirs := put(t, other, other.NewAttempt(t.Context(), "x", "f", p, 0), nil)
	for range messagesPerTry + 1 { // more than one read returns
		if _, err := js.Publish(t.Context(), events.ResultSubject(sensayTarget, "x", events.Deleted), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if last := asConflict(t, l.Append(t.Context(), l.NewAttempt(t.Context(), "x", "f", p, 0))); last == nil || last.Seq != theirs {
		t.Errorf("%+v, want another's record %d", last, theirs)
	}
	asConflict(t, l.CheckHead(t.Context(), "x", p))
	p.Seq = theirs
	if err := l.CheckHead(t.Context(), "x", p); err != nil {
		t.Error(err)
	}
}

// A result that cannot be encoded must not be stored empty: a reader of its subject would
// take it for the final result.
func TestAResultThatCannotBeEncodedIsNotStored(t *testing.T) {
	js := newServer(t)
	l := newLedger(js, sensayTarget)
	r := entryResult("x")
	r.Evidence = nil // a deletion without evidence
	if p, err := l.NewResult(t.Context(), "x", "f", Progress{Attempts: 1}, r); err == nil || p != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestAnOverdueScheduleDoesNotCountAsScheduled(t *testing.T) {
	l := newLedger(newServer(t), kvTarget)
	now := time.Now()
	if err := l.Schedule(t.Context(), "r1", &nats.Msg{}, Progress{}, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		when time.Time
		want bool
	}{{now, true}, {now.Add(time.Hour), true}, {now.Add(time.Hour + 2*maxLateness), false}} {
		if is, err := l.IsScheduled(t.Context(), "r1", 0, c.when); err != nil || is != c.want {
			t.Errorf("at %s: scheduled %v, %v", c.when.Sub(now), is, err)
		}
	}
	if is, err := l.IsScheduled(t.Context(), "r2", 0, now); err != nil || is {
		t.Errorf("another request: %v, %v", is, err)
	}
}

func TestARetryIsDistinguishedFromAConfirmation(t *testing.T) {
	l := newLedger(newServer(t), sensayTarget)
	want := func(what string, want bool) {
		t.Helper()
		if got, err := l.RetryScheduled(t.Context()); got != want || err != nil {
			t.Errorf("%s: a retry is scheduled: %v, %v", what, got, err)
		}
	}
	schedule := func(id string, p Progress) {
		t.Helper()
		if err := l.Schedule(t.Context(), id, &nats.Msg{}, p, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	want("nothing", false)
	schedule("r1", Progress{Attempts: 1, AwaitingRemoval: true})
	want("a confirmation", false)
	schedule("r2", Progress{Attempts: 1})
	want("a retry", true)
}

func TestStoreFailuresAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		stored []bool
		logged bool
	}{
		"all stored":          {[]bool{true, true}, false},
		"none before the end": {[]bool{false, false}, true},
		"one of them":         {[]bool{false, true}, true},
	} {
		var log strings.Builder
		f := newFailures(slog.New(slog.NewTextHandler(&log, nil)))
		f.end("an append that never failed", false)
		begun := time.Now()
		for i := range c.stored {
			f.add(i, Failure{Reason: "the disk is full", Since: begun.Add(time.Duration(i) * time.Second)})
		}
		if all := f.all(); len(all) != 1 || !all[0].Since.Equal(begun) {
			t.Errorf("%s: it reports %+v", name, all)
		}
		f.add("other", Failure{Reason: "the stream is missing", Since: begun.Add(-time.Hour)})
		if all := f.all(); len(all) != 2 || all[0].Reason != "the stream is missing" {
			t.Errorf("%s: it reports %+v", name, all)
		}
		f.end("other", true)
		for i, stored := range c.stored {
			f.end(i, stored)
		}
		if logged := strings.Contains(log.String(), "could not be stored"); logged != c.logged || f.all() != nil {
			t.Errorf("%s: it logged %q", name, log.String())
		}
	}
}

func TestPropagationHeadersAreFoundInAnySpelling(t *testing.T) {
	for _, name := range []string{"traceparent", "Traceparent", "TraceParent"} {
		if got := (HeaderCarrier{name: {"x"}}).Get("traceparent"); got != "x" {
			t.Errorf("%s is not found", name)
		}
	}
	if got := (HeaderCarrier{"traceparent": nil}).Get("traceparent"); got != "" {
		t.Errorf("%q from nothing", got)
	}
}
