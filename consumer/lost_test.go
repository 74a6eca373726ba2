package consumer

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// knowing returns a lane that knows how long records are there, and need not ask.
func knowing(k retentionInfo, recordAttempts bool) *Lane {
	l := &Lane{config: Config{RecordAttempts: recordAttempts}, clock: newClock()}
	l.retention.latest.Store(&k)
	return l
}

// A request that may have had records is after an unanswered attempt: its 404 is deleted.
// One that had none must not be: its 404 is not-found.
func TestWhichRequestsMayHaveLostTheirRecords(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	known := retentionInfo{asked: now, maxAge: 30 * 24 * time.Hour, created: ago(1000 * time.Hour), consumer: ago(1000 * time.Hour), first: 50}
	with := func(change func(k *retentionInfo)) retentionInfo { k := known; change(&k); return k }
	newStream := with(func(k *retentionInfo) { k.created = ago(time.Minute) })
	newConsumer := with(func(k *retentionInfo) { k.consumer = ago(time.Minute) })
	short := with(func(k *retentionInfo) { k.maxAge = time.Minute })
	shortOfNewConsumer := with(func(k *retentionInfo) { k.maxAge, k.consumer = time.Minute, ago(time.Second) })
	forever := with(func(k *retentionInfo) { k.maxAge, k.consumer = 0, ago(time.Second) })
	// The server was asked after the delivery, just now or so long ago that more may have changed.
	asked := func(k retentionInfo, at time.Time) retentionInfo { k.asked = at; return k }
	longAgo := ago(2 * checkEvery)

	for _, c := range []struct {
		name      string
		known     retentionInfo
		age       time.Duration
		delivered uint64
		replays   uint64
		want      bool
	}{
		{"a first delivery", known, time.Hour, 1, 0, false},
		{"a second delivery", known, time.Hour, 2, 0, false},
		{"a first delivery, a new results stream", newStream, time.Hour, 1, 0, false},
		{"a second delivery, a new results stream", newStream, time.Hour, 2, 0, true},
		{"a second delivery, stored after the results stream was created", newStream, time.Second, 2, 0, false},
		{"a first delivery, a new consumer", newConsumer, time.Hour, 1, 0, false},
		{"a second delivery, a new consumer", newConsumer, time.Hour, 2, 0, false},
		{"a first delivery, older than records", short, time.Hour, 1, 0, false},
		{"a second delivery, older than records", short, time.Hour, 2, 0, true},
		{"a second delivery, younger than records", short, time.Second, 2, 0, false},
		{"a second delivery, as old as records within the tolerance", short, time.Minute - ledger.ClockTolerance + time.Second, 2, 0, true},
		{"a first delivery, older than records and its consumer", shortOfNewConsumer, time.Hour, 1, 0, true},
		{"a second delivery, records are kept forever", forever, 10000 * 24 * time.Hour, 2, 0, true}, // older than the stream
		{"a first delivery, records are kept forever", forever, time.Hour, 1, 0, false},
		{"a replay of a failure that is gone", known, time.Hour, 1, 49, true},
		{"a replay of the first record", known, time.Hour, 1, 50, false},
		{"a replay of a later record", known, time.Hour, 1, 51, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for when, at := range map[string]time.Time{"just now": now, "long ago": longAgo} {
				d := &delivery{Msg: &nats.Msg{}, storedAt: ago(c.age), receivedAt: at.Add(-time.Second), numDelivered: c.delivered}
				got, err := knowing(asked(c.known, at), true).mayHaveLostRecords(t.Context(), d, c.replays)
				if got != c.want || err != nil {
					t.Errorf("asked %s: %v, %v", when, got, err)
				}
				if got, err := knowing(asked(c.known, at), false).mayHaveLostRecords(t.Context(), d, c.replays); got || err != nil {
					t.Errorf("asked %s, without recorded attempts: %v, %v", when, got, err)
				}
			}
		})
	}
}

// unreachable is a ledger whose server does not answer.
type unreachable struct{ requestLedger }

func (unreachable) Retry(context.Context, string, func(context.Context) error) error {
	return errUnreachable
}

var errUnreachable = errors.New("the server does not answer")

func TestNoRequestIsCalledForWhileItsRecordsMayBeLost(t *testing.T) {
	l := knowing(retentionInfo{}, true)
	l.ledger = unreachable{}
	if _, err := l.mayHaveLostRecords(t.Context(), &delivery{Msg: &nats.Msg{}, receivedAt: time.Now(), numDelivered: 1}, 0); !errors.Is(err, errUnreachable) {
		t.Errorf("a delivery: %v", err)
	}
	if lost, err := l.lostRecord(t.Context(), ledger.Progress{Seq: 1}, &ledger.Record{Seq: 2}); lost || !errors.Is(err, errUnreachable) {
		t.Errorf("a step: %v, %v", lost, err)
	}
}

// What was known before a delivery may have changed, unless it is a first one within the
// retention.
func TestOnlyTheServerKnowsWhetherAnOldRequestHadRecords(t *testing.T) {
	now := time.Now()
	fresh := retentionInfo{asked: now, maxAge: time.Hour}
	for name, c := range map[string]struct {
		known retentionInfo
		age   time.Duration
		want  bool
	}{
		"a new request":                        {fresh, time.Minute, false},
		"a request older than records":         {fresh, 2 * time.Hour, true},
		"nothing is known":                     {retentionInfo{}, time.Minute, true},
		"what is known is old":                 {retentionInfo{asked: now.Add(-2 * checkEvery), maxAge: time.Hour}, time.Minute, true},
		"a new request, records never expire":  {retentionInfo{asked: now}, time.Minute, false},
		"an old request, records never expire": {retentionInfo{asked: now}, 10000 * time.Hour, false},
	} {
		d := &delivery{Msg: &nats.Msg{}, storedAt: now.Add(-c.age)}
		if got := knowing(c.known, true).needsRetention(d); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if knowing(c.known, false).needsRetention(d) {
			t.Errorf("%s: asked although no attempts are recorded", name)
		}
	}
}

func TestWhichStepsHaveLostTheRecordThatTheyKnow(t *testing.T) {
	l := knowing(retentionInfo{asked: time.Now().Add(time.Hour), first: 50}, true)
	attempt := &ledger.Record{Seq: 60}
	for name, c := range map[string]struct {
		knows uint64
		last  *ledger.Record
		want  bool
	}{
		"its record is gone":                       {49, attempt, true},
		"its record is the first":                  {50, attempt, false},
		"its record is there":                      {51, attempt, false},
		"it knows none":                            {0, attempt, false},
		"the request has no record":                {49, nil, false},
		"the request has its final result":         {49, &ledger.Record{Seq: 60, Outcome: events.Deleted}, false},
		"the request has a result that is not one": {49, &ledger.Record{Seq: 60, Outcome: events.AcceptedPending}, true},
	} {
		if got, err := l.lostRecord(t.Context(), ledger.Progress{Seq: c.knows}, c.last); got != c.want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	without := knowing(retentionInfo{asked: time.Now().Add(time.Hour), first: 50}, false)
	if got, err := without.lostRecord(t.Context(), ledger.Progress{Seq: 49}, attempt); got || err != nil {
		t.Errorf("without recorded attempts: %v, %v", got, err)
	}
}
