package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

var update = flag.Bool("update", false, "write what the tests compare into the documents")

// scrape is a page of metrics: the value of each series, and the name of the family
// that has each description.
type scrape struct {
	text   string
	series map[string]float64
	family map[string]string
}

func (w *worker) scrape() (scrape, error) {
	return w.scrapeAs("text/plain")
}

func (w *worker) scrapeAs(format string) (scrape, error) {
	s := scrape{series: map[string]float64{}, family: map[string]string{}}
	request, err := http.NewRequest(http.MethodGet, w.admin+"/metrics", nil)
	if err != nil {
		return s, err
	}
	request.Header.Set("Accept", format)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return s, err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	s.text = string(raw)
	for line := range strings.Lines(s.text) {
		line = strings.TrimSpace(line)
		if help, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, description, _ := strings.Cut(help, " ")
			s.family[description] = name
			continue
		}
		at := strings.LastIndex(line, " ")
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if value, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			s.series[line[:at]] = value
		}
	}
	return s, err
}

// shows waits until a series has a value.
func (b *bench) shows(w *worker, name string, ok func(float64) bool) {
	b.Helper()
	b.until("the metric "+name, func() bool {
		s, err := w.scrape()
		value, there := s.series[name]
		return err == nil && there && ok(value)
	})
}

func atLeastOne(v float64) bool                { return v >= 1 }
func exactly(value float64) func(float64) bool { return func(v float64) bool { return v == value } }

const (
	ofKV     = `lethe_target="kv-user-context"`
	ofSensay = `lethe_target="sensay-knowledge-base"`
)

// Each fault moves the metric that names it, on a real page, and the table in
// docs/metrics.md is what the worker exports.
func TestEachMetricMovesWhenItShould(t *testing.T) {
	b := newBench(t)
	b.ignoreCalls()
	otlp := newReceiver(t)
	b.limit(events.StreamRequests, 1<<30)
	for of, steps := range map[fakeapi.Entry][]fakeapi.Step{
		fakeapi.Context(1):                          {{Fault: "503"}},
		fakeapi.Context(2):                          {{Fault: fakeapi.Cut}},
		fakeapi.Context(3):                          {{Fault: "418", Times: -1}},
		fakeapi.Context(4):                          {{Fault: fakeapi.Refused, Times: -1}},
		fakeapi.KnowledgeBaseEntry(demoReplica, 10): {{Fault: fakeapi.AcceptPending, Times: -1}},
	} {
		if err := b.apis.Script(of, steps...); err != nil {
			t.Fatal(err)
		}
	}
	w := b.start(append(otlp.settings(), "CONFIRM_AFTER=1s", "RETRY_MAX_ELAPSED=3s", "KV_RATE=500")...)

	t.Run("what the worker is", func(*testing.T) {
		b.shows(w, "lethe_nats_connected", exactly(1))
		b.shows(w, buildSeries(), exactly(1))
		b.shows(w, "lethe_lane_state{lethe_state=\"running\","+ofKV+"}", exactly(1))
		b.shows(w, "lethe_lane_state{lethe_state=\"paused\","+ofKV+"}", exactly(0))
		b.shows(w, "lethe_calls_limit{"+ofSensay+"}", atLeastOne)
		b.shows(w, "lethe_calls_rate_limit_per_second{"+ofKV+"}", exactly(500))
	})
	t.Run("answers", func(*testing.T) {
		b.publish(events.UserContexts{IDs: []int64{1}})
		b.shows(w, "lethe_results_total{lethe_outcome=\"deleted\","+ofKV+"}", exactly(1))
		b.shows(w, "lethe_request_duration_seconds_count{lethe_outcome=\"deleted\","+ofKV+"}", exactly(1))
		b.shows(w, "lethe_call_requests_count{"+ofKV+",lethe_verdict=\"deleted\"}", exactly(1))
		b.shows(w, "lethe_retries_total{http_response_status_code=\"503\","+ofKV+"}", exactly(1))
		b.publish(events.UserContexts{IDs: []int64{2}})
		b.shows(w, "lethe_retries_total{"+ofKV+"}", exactly(1)) // no answer came
		b.publish(events.UserContexts{IDs: []int64{4}})
		b.shows(w, "lethe_invalid_total{error_type=\"rejected-by-api\","+ofKV+"}", exactly(1))
		if _, err := b.js.Publish(t.Context(), events.RequestSubject(events.KVUserContext), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		b.shows(w, "lethe_invalid_total{error_type=\"malformed-event\","+ofKV+"}", exactly(1))
		b.shows(w, "lethe_request_duration_seconds_count{lethe_outcome=\"invalid\","+ofKV+"}", exactly(2))
	})
	t.Run("a request that fails counts its whole life", func(*testing.T) {
		b.publish(events.UserContexts{IDs: []int64{3}})
		b.shows(w, "lethe_results_total{lethe_outcome=\"failed\","+ofKV+"}", exactly(1))
		b.shows(w, "lethe_request_duration_seconds_sum{lethe_outcome=\"failed\","+ofKV+"}", atLeastOne)
	})
	t.Run("a vendor that does not finish", func(*testing.T) {
		r := b.publish(entryOf(10))
		b.shows(w, "lethe_results_total{lethe_outcome=\"accepted-pending\","+ofSensay+"}", exactly(1))
		b.shows(w, "lethe_confirmations_late_total{"+ofSensay+"}", atLeastOne)
		b.final(r)
	})
	t.Run("a call in flight", func(*testing.T) {
		release := b.delayAnswers()
		b.publish(entryOf(20))
		b.shows(w, "lethe_calls_in_flight{"+ofSensay+"}", exactly(1))
		release()
		b.shows(w, "lethe_calls_in_flight{"+ofSensay+"}", exactly(0))
	})
	t.Run("a stream that is full, and requests that wait", func(*testing.T) {
		b.limit(events.StreamResults, 1)
		r := b.publish(entryOf(30))
		b.shows(w, "lethe_store_failures_total{"+ofSensay+"}", atLeastOne)
		for id := range int64(300) { // more than the worker has asked for already
			b.publish(entryOf(100 + id))
		}
		b.shows(w, "lethe_requests_waiting{"+ofSensay+"}", atLeastOne)
		b.shows(w, "lethe_requests_in_flight{"+ofSensay+"}", atLeastOne)
		b.shows(w, "lethe_requests_oldest_age_seconds{"+ofSensay+"}", func(v float64) bool { return v > 0 })
		b.shows(w, "lethe_requests_oldest_age_seconds{"+ofKV+"}", exactly(0))
		b.shows(w, "lethe_stream_max_bytes{lethe_stream=\"DELETION_REQUESTS\"}", exactly(1<<30))
		b.shows(w, "lethe_stream_max_age_seconds{lethe_stream=\"DELETION_RESULTS\"}", exactly(30*24*3600))
		b.shows(w, "lethe_stream_bytes{lethe_stream=\"DELETION_RESULTS\"}", atLeastOne)
		b.shows(w, "lethe_failed{"+ofKV+"}", exactly(1))
		b.limit(events.StreamResults, -1)
		b.final(r)
	})
	s, err := w.scrape()
	if err != nil {
		t.Fatal(err)
	}
	compareDocument(t, "../../docs/metrics.md", "metrics", b.table(otlp, s))
	t.Run("a request that waits for its time", func(*testing.T) {
		b.schedule()
		b.shows(w, "lethe_requests_scheduled{"+ofKV+"}", exactly(1))
	})
	t.Run("a server that is gone", func(*testing.T) {
		b.server.Shutdown()
		b.shows(w, "lethe_nats_connected", exactly(0))
	})
}

// buildSeries is the series of lethe.build for the program under test.
func buildSeries() string {
	b := buildInfo()
	return fmt.Sprintf("lethe_build{process_runtime_version=%q,service_version=%q,vcs_ref_head_revision=%q}", b.Go, b.Version, cmp.Or(b.Commit, "unknown"))
}

// ignoreCalls takes the signals that calls began.
func (b *bench) ignoreCalls() {
	go func() {
		for {
			select {
			case <-b.begun:
			case <-b.Context().Done():
				return
			}
		}
	}()
}

// schedule stores a step of a request that is due in the far future.
func (b *bench) schedule() {
	b.Helper()
	msg := nats.NewMsg(events.LaterSubject(events.KVUserContext, "someone"))
	msg.Header.Set("Nats-Schedule", "@at 2099-01-01T00:00:00Z")
	msg.Header.Set("Nats-Schedule-Target", events.DueSubject(events.KVUserContext))
	if _, err := b.js.PublishMsg(b.Context(), msg); err != nil {
		b.Fatal(err)
	}
}

// limit sets the max_bytes of a stream.
func (b *bench) limit(name string, maxBytes int64) {
	b.Helper()
	stream, err := b.js.Stream(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = maxBytes
	if _, err := b.js.UpdateStream(b.Context(), config); err != nil {
		b.Fatal(err)
	}
}

// table describes each metric of Lethe and of its HTTP client, as it is exported.
func (b *bench) table(otlp *receiver, s scrape) string {
	b.Helper()
	names := otlp.names()
	slices.Sort(names)
	table := "| OpenTelemetry | Prometheus | type | unit | labels | meaning |\n|---|---|---|---|---|---|\n"
	for _, name := range names {
		if !strings.HasPrefix(name, "lethe.") && !strings.HasPrefix(name, "http.client.") {
			continue
		}
		m := otlp.metric(name)
		kind, points := pointsOf(m)
		labels := map[string]bool{}
		for _, attributes := range points {
			for _, a := range attributes {
				labels["`"+strings.ReplaceAll(a.Key, ".", "_")+"`"] = true
			}
		}
		family := s.family[m.Description]
		if family == "" {
			b.Errorf("%s is not on the page for Prometheus", name)
		}
		table += fmt.Sprintf("| `%s` | `%s` | %s | `%s` | %s | %s |\n",
			name, family, kind, m.Unit, strings.Join(slices.Sorted(maps.Keys(labels)), ", "), m.Description)
	}
	return table
}

// pointsOf returns the type of a metric and the attributes of its points.
func pointsOf(m *metrics.Metric) (kind string, points [][]*common.KeyValue) {
	switch data := m.Data.(type) {
	case *metrics.Metric_Gauge:
		for _, p := range data.Gauge.DataPoints {
			points = append(points, p.Attributes)
		}
		return "gauge", points
	case *metrics.Metric_Sum:
		for _, p := range data.Sum.DataPoints {
			points = append(points, p.Attributes)
		}
		if data.Sum.IsMonotonic {
			return "counter", points
		}
		return "up-down counter", points
	case *metrics.Metric_Histogram:
		for _, p := range data.Histogram.DataPoints {
			points = append(points, p.Attributes)
		}
		return "histogram", points
	}
	return "?", nil
}
