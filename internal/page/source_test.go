package page

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

const (
	kv      = "kv-user-context"
	sensay  = "sensay-knowledge-base"
	aFailed = "0192f0c1-7c1e-7b6e-a8f4-0c7c3a5f1d11"
	aLate   = "0192f0c1-7c1e-7b6e-a8f4-0c7c3a5f1d42"
	largest = "9223372036854775807"
	hostile = `"><img src=x onerror="document.title='broken'"><script>document.title='broken'</script></td></table>&lt;b&gt;`
)

// source is a worker whose values a test sets.
type source struct {
	mu        sync.Mutex
	situation Situation
	attention Attention
	answers   map[string]Answer
	failure   error
	reads     int // of Attention and Find
}

func (s *source) Situation() Situation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.situation
}

func (s *source) Attention(context.Context) (Attention, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return s.attention, s.failure
}

func (s *source) Find(_ context.Context, id string) (Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	answer, ok := s.answers[id]
	if !ok {
		answer.Missing = "nothing is stored under " + id + "; use `lethe show --seq N`"
	}
	return answer, s.failure
}

func (s *source) set(change func(*source)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func aLane(target string, waiting uint64) Lane {
	return Lane{
		Target: target, State: "running", Waiting: new(waiting), InFlight: new(uint64(64)), Scheduled: new(uint64(12)), Failed: new(uint64(0)),
		Oldest: new(3 * time.Second), Calls: 3, MaxCalls: 64,
	}
}

// healthy is the situation of a worker without problems.
func healthy() Situation {
	return Situation{
		Instance: "0198c5a2-4f8e-7d50-9c1c-3f0c8f6f2b11", Version: "v0.3.0", CountedAt: time.Now().Add(-4 * time.Second), RequestsIn: new(uint64(1000)),
		Lanes: []Lane{aLane(kv, 1204), aLane(sensay, 0)},
		Streams: []Stream{
			{Name: "DELETION_REQUESTS", Messages: 1268, Bytes: 640 << 10}, {Name: "DELETION_RESULTS", Messages: 48211, Bytes: 31 << 20, MaxBytes: 10 << 30},
			{Name: "DELETION_LATER", Messages: 24, Bytes: 14 << 10, MaxBytes: 256 << 20},
		},
	}
}

// suspended is a worker of which one lane is suspended, with failed and overdue requests.
func suspended(now time.Time) *source {
	s := &source{situation: healthy(), answers: map[string]Answer{}}
	s.situation.Lanes[1] = Lane{
		Target: sensay, State: "suspended", Waiting: new(uint64(318)), InFlight: new(uint64(0)), Scheduled: new(uint64(7)), Failed: new(uint64(2)),
		Oldest: new(12*time.Minute + 40*time.Second), MaxCalls: 64, NextCall: now.Add(41 * time.Second),
		Problems: []Problem{{
			State: "suspended", Reason: "the API refuses the credential in LETHE_SENSAY_ORGANIZATION_SECRET: 401 Unauthorized", Since: now.Add(-12*time.Minute - 40*time.Second),
			Fix: "set LETHE_SENSAY_ORGANIZATION_SECRET to a valid credential and restart the worker",
		}},
	}
	s.attention = Attention{
		Failed:  []Entry{{aFailed, sensay, now.Add(-26 * time.Minute), "retries-exhausted: the API answered 503 Service Unavailable for 24 h"}},
		Overdue: []Entry{{aLate, sensay, now.Add(-97 * time.Minute), "accepted by the API; confirmed by another call, which it answered with 202"}},
	}
	s.answers[aFailed] = Answer{Stories: []Story{{
		ID: aFailed, Target: sensay, Resource: "replica 03db5651-cb61-4bdf-9ef0-89561f7c9c53, entry " + largest, Source: "/crm/erasure",
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", State: "final", Sentence: "It is final: failed at 12:04:05 UTC, after 2 attempts, retries-exhausted. To try it again: `lethe failed replay " + aFailed + "`.",
		Lines: []Line{{now.Add(-time.Hour), "attempt 1", "503 " + hostile}, {now.Add(-26 * time.Minute), "result", "failed"}},
	}}}
	return s
}

// pageOf is a page with an hour of history.
func pageOf(s *source, now time.Time) *Page {
	p := New(s, Access{Setting: "LETHE_ADMIN_PAGE", Log: slog.New(slog.DiscardHandler)})
	for i := maxSamples; i > 0; i-- {
		p.history.samples = append(p.history.samples, anHour(now.Add(-time.Duration(i)*sampleEvery)))
	}
	return p
}

// anHour generates the sample of a time: a wave in one lane; the other lane stops.
func anHour(at time.Time) sample {
	x := float64(at.Unix()) / 400
	wave := 900 + 260*math.Sin(x) + 60*math.Sin(7*x) + 25*math.Sin(31*x)
	s := sample{at: at, minutes: sampleEvery.Minutes(), requestsIn: wave + 40*math.Sin(23*x), results: map[string]float64{"deleted": wave / 4, "not-found": 20 + 4*math.Sin(5*x)}}
	if at.Unix()%700 < 15 {
		s.results["failed"] = 1
	}
	s.lanes = map[string]laneSample{
		kv:     {waiting: 1200 + 300*math.Sin(x+2), calls: wave / 20, median: .18 + .02*math.Sin(9*x), p95: .42 + .1*math.Sin(11*x)},
		sensay: {waiting: 10, calls: 40 + 8*math.Sin(13*x), median: .61 + .05*math.Sin(8*x), p95: .95 + .2*math.Sin(6*x)},
	}
	if age := time.Since(at); age < 12*time.Minute {
		s.lanes[sensay] = laneSample{waiting: 318 - age.Minutes()*25, calls: 0, median: math.NaN(), p95: math.NaN()}
	}
	return s
}

// serve serves a page on loopback.
func serve(t *testing.T, p *Page) string {
	t.Helper()
	mux := http.NewServeMux()
	p.Register(mux)
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return web.URL
}

var errGone = errors.New("not connected to NATS")

// stoppable serves a page until stop.
func stoppable(t *testing.T, p *Page) (url string, stop func()) {
	t.Helper()
	mux := http.NewServeMux()
	p.Register(mux)
	web := httptest.NewServer(mux)
	stop = sync.OnceFunc(func() { web.CloseClientConnections(); web.Close() })
	t.Cleanup(stop)
	return web.URL, stop
}
