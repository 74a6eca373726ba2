package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

func TestAnAnswerIsOneShortLine(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		message string
		want    string
	}{
		"a message that begins with the status": {503, "503 Service Unavailable: busy", "503 Service Unavailable: busy"},
		"a message without the status":          {429, "slow down", "429 slow down"},
		"no message":                            {500, "", "500"},
		"no status":                             {0, "connection lost", "connection lost"},
		"neither":                               {0, "", "no message"},
		"lines and control characters":          {500, "a\r\nNats-Rollup: all\x1b[31m", "500 a Nats-Rollup: all [31m"},
		"a long message":                        {500, strings.Repeat("é", 300), "500 " + strings.Repeat("é", 148) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			a := NewAnswer(c.status, c.message, noon)
			if a.Text() != c.want || len(a.Message) > MaxAnswer {
				t.Errorf("%q, %d bytes, want %q", a.Text(), len(a.Message), c.want)
			}
		})
	}
}

// The last answer is in each record and in the schedule. A result has its own evidence instead.
func TestTheLastAnswerTravelsWithTheRequest(t *testing.T) {
	js := newServer(t)
	l := newLedger(js, sensayTarget)
	id := NewID()
	p := Progress{Attempts: 1, RequestSeq: 1, FirstAttempt: noon, Answer: NewAnswer(503, "busy", noon)}
	p.Seq = put(t, l, l.NewAttempt(t.Context(), id, "f", p, 0), nil)
	last, err := l.Last(t.Context(), id)
	if err != nil || last.Progress.Answer != p.Answer {
		t.Errorf("the record has %+v, %v", last.Progress.Answer, err)
	}
	if err := l.Schedule(t.Context(), id, &nats.Msg{Header: nats.Header{}}, p, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if all := messages(t, js, events.StreamLater); len(all) != 1 || ReadProgress(all[0].Header).Answer != p.Answer {
		t.Errorf("the schedule is %+v", all)
	}
	result, err := l.NewResult(t.Context(), id, "f", p, entryResult(id))
	put(t, l, result, err)
	for _, m := range messages(t, js, events.StreamResults)[1:] {
		if m.Header.Get(headerAnswer) != "" {
			t.Errorf("the result repeats %q", m.Header.Get(headerAnswer))
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add("503 2026-11-23T12:00:00Z busy")
	f.Add("0 2026-11-23T12:00:00.000000001+01:00")
	f.Add("-1 2026-11-23T12:00:00Z x")
	f.Add("200 yesterday x")
	f.Fuzz(func(t *testing.T, header string) {
		a := readAnswer(header)
		if a.At.IsZero() {
			if a != (Answer{}) {
				t.Errorf("%q has no time and is %+v", header, a)
			}
			return
		}
		if a.Status < 0 || len(a.Message) > MaxAnswer || strings.ContainsAny(a.Text(), "\r\n\x1b") {
			t.Errorf("%q is read as %+v", header, a)
		}
		again := nats.Header{}
		a.write(&headerWriter{Header: again})
		if got := readAnswer(again.Get(headerAnswer)); got != a {
			t.Errorf("%+v becomes %+v", a, got)
		}
	})
}
